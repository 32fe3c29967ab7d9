"""The results page: one HTML file that explains what several runs came to."""
