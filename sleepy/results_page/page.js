"use strict";
(() => {
const byId = name => document.getElementById(name);
const make = (tag, words = "", text = "") => {
  const element = document.createElement(tag);
  if (words) element.className = words;
  if (text) element.textContent = text;
  return element;
};
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const data = JSON.parse(byId("data").textContent);

// The table: each row is a tbody, whose second line is unfolded by its button.
const table = byId("rows");
const bodies = [...table.tBodies];

function sortBy(column) {
  const heads = [...table.tHead.rows[0].cells];
  const rising = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head, i) => head.setAttribute("aria-sort", i !== column ? "none" : rising ? "ascending" : "descending"));
  const key = body => {
    const cell = body.rows[0].cells[column];
    return cell.dataset.key !== undefined ? Number(cell.dataset.key) : cell.textContent.trim();
  };
  bodies.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return rising ? order : -order;
  });
  table.append(...bodies);
}

function filterRows() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [...document.querySelectorAll("#table select")].filter(select => select.value !== "");
  let shown = 0;
  for (const body of bodies) {
    const fits = words.every(word => body.dataset.label.includes(word)) &&
      chosen.every(select => body.getAttribute(`data-axis-${select.dataset.axis}`) === select.value);
    body.hidden = !fits;
    shown += fits;
  }
  byId("count").textContent = shown === bodies.length ? plural(shown, "row") : `${shown} of ${plural(bodies.length, "row")}`;
}

[...table.tHead.rows[0].cells].forEach((head, i) => head.querySelector("button")?.addEventListener("click", () => sortBy(i)));
byId("find").addEventListener("input", filterRows);
document.querySelectorAll("#table select").forEach(select => select.addEventListener("change", filterRows));
table.addEventListener("click", event => {
  const button = event.target.closest(".unfold");
  if (!button) return;
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  byId(button.getAttribute("aria-controls")).hidden = !open;
});

// The matrix: a square for each koan and run; one of them can be reached by Tab, the arrow keys go on from there.
const SIGNS = {both: "", neither: "", gained: "+", lost: "−", passed: "", failed: ""};
const WORDS = {both: "passed before and after", neither: "failed before and after", gained: "gained", lost: "lost",
  passed: "passed", failed: "failed"};
const matrix = byId("matrix");

function outcome(koan, column) {
  const {outcomes, against} = data.columns[column];
  const after = outcomes[koan];
  if (after === "-") return "";
  const before = against === null ? "-" : data.columns[against].outcomes[koan];
  if (before === "-") return after === "p" ? "passed" : "failed";
  return after === "p" ? (before === "p" ? "both" : "gained") : (before === "p" ? "lost" : "neither");
}

const name = column => {
  const {row, label, seed} = data.columns[column];
  return (row ? `${row} · ${label}` : label) + (seed ? `, seed ${seed}` : "");
};
// Untouched models are no columns where there are several: a run's own one is beside its answer.
const untouched = data.columns.filter(column => !column.row).length;
const columns = data.columns.map((_, i) => i).filter(i => data.columns[i].row || untouched === 1);
const families = [...new Set(data.koans.map(koan => koan.family))];
const lines = [];

function drawHead() {
  const numbers = make("tr"), corner = make("th", "corner", "koan");
  corner.scope = "col";
  numbers.append(corner);
  for (let i = 0; i < columns.length;) {
    const {row} = data.columns[columns[i]];
    let span = 1;
    while (row && i + span < columns.length && data.columns[columns[i + span]].row === row) span++;
    const head = make("th", row ? "" : "untouched", row ? String(row) : "base");
    head.scope = "colgroup";
    head.colSpan = span;
    head.title = row ? data.columns[columns[i]].label : name(columns[i]);
    numbers.append(head);
    i += span;
  }
  const last = make("th", "sum", "+ / −");
  last.scope = "col";
  numbers.append(last);
  matrix.tHead.append(numbers);
}

function drawFamily(family) {
  const body = make("tbody"), title = make("tr", "family"), head = make("th", "", family.replaceAll("_", " "));
  head.colSpan = columns.length + 2;
  head.scope = "rowgroup";
  title.append(head);
  body.append(title);
  data.koans.forEach((koan, number) => {
    if (koan.family !== family) return;
    const line = make("tr"), label = make("th", "", koan.id.split("/").pop());
    label.scope = "row";
    label.title = `${koan.id} · ${koan.pattern}, level ${koan.level}, ${koan.stratum}`;
    line.append(label);
    let first = null;
    const count = {gained: 0, lost: 0, p: 0, f: 0};
    columns.forEach((column, place) => {
      const word = outcome(number, column), {row} = data.columns[column];
      const cell = make("td", row !== first ? "begins" : "");
      first = row;
      if (word) {
        const square = make("i", word, SIGNS[word]);
        cell.append(square);
        cell.tabIndex = -1;
        cell.dataset.koan = number;
        cell.dataset.place = place;
        cell.setAttribute("aria-label", `${koan.id}, ${name(column)}: ${WORDS[word]}`);
        if (row) {
          if (word in count) count[word]++;
          count[data.columns[column].outcomes[number]]++;
        }
      }
      cell.setAttribute("role", "gridcell");
      line.append(cell);
    });
    const sum = make("td", "sum", [count.gained && `+${count.gained}`, count.lost && `−${count.lost}`].filter(Boolean).join(" "));
    line.append(sum);
    body.append(line);
    lines.push({line, body, koan, count});
  });
  matrix.append(body);
}

drawHead();
families.forEach(drawFamily);
const cellAt = (line, place) => line.cells[place + 1];
const square = event => event.target.closest("td[data-koan]");
let stop = matrix.querySelector("td[data-koan]");
if (stop) stop.tabIndex = 0;

function filterKoans() {
  const which = byId("which").value, family = byId("family").value;
  const words = byId("find-koan").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const {line, koan, count} of lines) {
    const fits = (!family || koan.family === family) &&
      words.every(word => `${koan.id} ${koan.pattern} ${koan.stratum}`.toLowerCase().includes(word)) &&
      (which === "all" || (which === "changed" && count.gained + count.lost > 0) || count[which] > 0 ||
        (which === "differ" && count.p > 0 && count.f > 0));
    line.hidden = !fits;
    shown += fits;
  }
  for (const body of matrix.tBodies) body.rows[0].hidden = [...body.rows].slice(1).every(row => row.hidden);
  byId("koan-count").textContent = shown === lines.length ? plural(shown, "koan") : `${shown} of ${plural(lines.length, "koan")}`;
  if (stop?.parentElement.hidden) focusable(matrix.querySelector("tr:not([hidden]) > td[data-koan]"));
}

function focusable(cell) {
  if (!cell) return;
  if (stop) stop.tabIndex = -1;
  stop = cell;
  stop.tabIndex = 0;
}

families.forEach(family => byId("family").append(new Option(family.replaceAll("_", " "), family)));
["which", "family"].forEach(id => byId(id).addEventListener("change", filterKoans));
byId("find-koan").addEventListener("input", filterKoans);
filterKoans();

const say = event => {
  const cell = square(event);
  if (cell) byId("where").textContent = cell.getAttribute("aria-label");
};
matrix.addEventListener("pointerover", say);
matrix.addEventListener("focusin", event => {
  focusable(square(event));
  say(event);
});
matrix.addEventListener("keydown", event => {
  const cell = square(event);
  if (!cell) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    openKoan(Number(cell.dataset.koan), Number(cell.dataset.place));
    return;
  }
  const steps = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  if (!steps) return;
  event.preventDefault();
  const shown = lines.filter(({line}) => !line.hidden).map(({line}) => line);
  const line = shown[shown.indexOf(cell.parentElement) + steps[0]];
  const next = line && cellAt(line, Number(cell.dataset.place) + steps[1]);
  if (next?.dataset.koan) next.focus();
});
matrix.addEventListener("click", event => {
  const cell = square(event);
  if (cell) openKoan(Number(cell.dataset.koan), Number(cell.dataset.place));
});

// Programs and answers are packed; they are unpacked at the first click.
const dialog = byId("koan");
const [broken, ...answers] = dialog.querySelectorAll("article");
const FIX = "fix";
let more = null;
let at = {koan: 0, left: 0, right: 0};

async function unpack() {
  const bytes = Uint8Array.from(atob(JSON.parse(byId("more").textContent)), sign => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function openKoan(koan, place) {
  const column = columns[place];
  const before = data.columns[column].against;
  at = {koan, left: before === null ? FIX : before, right: column};
  more ??= await unpack();
  show();
  if (dialog.open) return;
  dialog.showModal();
  byId("close").focus();
}

// Lines of `a` and of `b` that are not in the other, by the longest common subsequence.
function changes(a, b) {
  const length = a.map(() => new Uint16Array(b.length + 1)).concat([new Uint16Array(b.length + 1)]);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  const cut = new Set(), added = new Set();
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) i++, j++;
    else if (j === b.length || (i < a.length && length[i + 1][j] >= length[i][j + 1])) cut.add(i++);
    else added.add(j++);
  }
  return {cut, added};
}

const split = program => program.trimEnd().split("\n");

function write(pane, program, marked, mark) {
  const lines = split(program).map((text, i) => make("span", marked.has(i) ? mark : "", text || " "));
  pane.querySelector(".program").replaceChildren(...lines);
}

function tell(pane, ended, message) {
  pane.querySelector(".ended").textContent = ended;
  pane.querySelector(".message").textContent = message;
  pane.querySelector("h4").hidden = pane.querySelector(".message").hidden = !message;
}

function answerOf(choice) {
  if (choice === FIX) return {program: more.texts[more.koans[at.koan][2]], ended: "passed", message: ""};
  const given = more.given[at.koan][choice];
  if (given < 0) return {program: "", ended: "was not asked this koan", message: ""};
  const [program, ended, message, attempts] = more.answers[at.koan][given];
  const tries = attempts > 1 ? `, ${attempts} attempts` : "";
  const word = ended.startsWith("passed") ? "passed" : ended.startsWith("test") ? "compiles, fails a hidden test" : `does not ${ended}`;
  return {program: more.texts[program], ended: word + tries, message: more.texts[message]};
}

function show() {
  const koan = data.koans[at.koan], program = more.texts[more.koans[at.koan][0]];
  byId("koan-name").textContent = koan.id;
  byId("koan-about").textContent =
    [koan.about, `${koan.pattern}, level ${koan.level}, the compiler's help: ${koan.stratum}`].filter(Boolean).join(" · ");
  const shown = [at.left, at.right].map(answerOf);
  answers.forEach((pane, side) => {
    const select = pane.querySelector("select");
    const options = data.columns.map((_, i) => new Option(name(i), i));
    if (more.koans[at.koan][2]) options.push(new Option("the koan's own fix", FIX));
    select.replaceChildren(...options);
    select.value = String([at.left, at.right][side]);
    write(pane, shown[side].program, changes(split(program), split(shown[side].program)).added, "added");
    tell(pane, shown[side].ended, shown[side].message);
    pane.dataset.passed = shown[side].ended.startsWith("passed");
  });
  write(broken, program, changes(split(program), split(shown[1].program)).cut, "cut");
  tell(broken, program ? "does not compile" : "not known here", more.texts[more.koans[at.koan][1]]);
  const visible = lines.filter(({line}) => !line.hidden).map(entry => entry.koan);
  const place = visible.indexOf(koan);
  byId("earlier").disabled = place <= 0;
  byId("later").disabled = place < 0 || place === visible.length - 1;
}

answers.forEach((pane, side) => pane.querySelector("select").addEventListener("change", event => {
  const value = event.target.value;
  at[side ? "right" : "left"] = value === FIX ? FIX : Number(value);
  show();
}));
const turn = step => () => {
  const visible = lines.filter(({line}) => !line.hidden).map(entry => entry.koan);
  at.koan = data.koans.indexOf(visible[visible.indexOf(data.koans[at.koan]) + step]);
  show();
};
byId("earlier").addEventListener("click", turn(-1));
byId("later").addEventListener("click", turn(1));
byId("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", event => {
  if (event.target === dialog) dialog.close();
});
})();
