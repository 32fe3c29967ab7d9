"""The real compiler and the program's tests, isolated from the machine; verdicts cached by content."""
