"use strict";
// One session, step by step. Each line of #steps is what the timeline shows of an event, a tab, and
// the rest, which is read when somebody looks at it. States are not stored: they are made by
// applying each event's changes, an RFC 6902 patch, to the state before. Everything that came from
// events enters the page as text, never as markup.

const ROW_PIXELS = 44;
const MARK_EVERY = 256; // states kept to start from: a jump applies at most so many events
const BACK_KEPT = 32; // states kept before the one that a step back goes to, for the next ones
const ITEMS_SHOWN = 100;
const TEXT_SHOWN = 2000;
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

// A number that JavaScript would show as another one: 1.0, or an integer beyond 2^53.
class Exact {
  constructor(text) { this.text = text; }
}

function revived(_key, value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const names = Object.keys(value);
  if (names.length === 1 && names[0] === "\0number") return new Exact(value[names[0]]);
  if (!names.some((name) => name.startsWith("\0"))) return value;
  const renamed = {};
  for (const name of names) put(renamed, name.startsWith("\0") ? name.slice(1) : name, value[name]);
  return renamed;
}

// Plain assignment would take the name __proto__ for something else.
function put(object, name, value) {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent, revived);
const lines = byId("steps").textContent.split("\n").filter((line) => line !== "");
const rows = lines.map((line) => {
  const [version, position, type, actor, recorded, said, changes, occurred] = JSON.parse(line.slice(0, line.indexOf("\t")));
  return { version, position, type, actor, recorded, said, changes, occurred };
});
const rest = (index) => JSON.parse(lines[index].slice(lines[index].indexOf("\t") + 1), revived);

// --- states -------------------------------------------------------------------------------------

const tokens = (path) => path.split("/").slice(1).map((t) => t.replaceAll("~1", "/").replaceAll("~0", "~"));
const step = (path, name) => `${path}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;

// The state with one change applied, sharing all that it leaves alone; `seen` gets what was there.
// What is in `owned` was made on the way and is held by nobody else: it is changed where it is, and
// a large container copied once for many changes.
function applied(state, change, seen, owned) {
  const names = tokens(change.path);
  const mine = (value) => {
    if (owned.has(value)) return value;
    const copy = Array.isArray(value) ? value.slice() : { ...value };
    owned.add(copy);
    return copy;
  };
  function at(value, depth) {
    if (depth === names.length) {
      seen.before = value;
      return change.value;
    }
    const name = names[depth];
    const here = depth === names.length - 1 ? change.op : "";
    if (Array.isArray(value)) {
      const copy = mine(value);
      const index = Number(name);
      if (here === "add") copy.splice(index, 0, change.value);
      else if (here === "remove") seen.before = copy.splice(index, 1)[0];
      else copy[index] = at(copy[index], depth + 1);
      return copy;
    }
    const copy = mine(value);
    const there = Object.hasOwn(copy, name) ? copy[name] : undefined;
    if (here === "remove") {
      seen.before = there;
      delete copy[name];
    } else {
      put(copy, name, at(there, depth + 1));
    }
    return copy;
  }
  return at(state, 0);
}

const marks = new Map([[-1, facts.state]]);
const recent = new Map();
let latest = -1; // where the last state was made; the next one is mostly its neighbour
let latestState = facts.state;

function stateAt(index) {
  if (recent.has(index)) {
    latest = index;
    latestState = recent.get(index);
    return latestState;
  }
  const back = index < latest && latest - index < MARK_EVERY;
  const near = latest <= index && index - latest < MARK_EVERY;
  let from = near ? latest : -1;
  let state = near ? latestState : facts.state;
  if (!near) {
    for (let mark = index - ((index + 1) % MARK_EVERY); mark >= 0; mark -= MARK_EVERY) {
      if (marks.has(mark)) {
        from = mark;
        state = marks.get(mark);
        break;
      }
    }
  }
  let owned = new Set();
  if (back) recent.clear();
  for (let i = from + 1; i <= index; i += 1) {
    const kept = back && index - i < BACK_KEPT;
    if (kept) owned = new Set();
    for (const change of rest(i).changes) state = applied(state, change, {}, owned);
    if ((i + 1) % MARK_EVERY === 0) {
      marks.set(i, state);
      owned = new Set();
    }
    if (kept) recent.set(i, state);
  }
  latest = index;
  latestState = state;
  return state;
}

// --- drawing ------------------------------------------------------------------------------------

const shownText = (text) => text.replace(UNSAFE, (c) => {
  const code = c.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
});

function make(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = shownText(String(text));
  return made;
}

const isContainer = (value) => value !== null && typeof value === "object" && !(value instanceof Exact);

function asText(value, depth = 0) {
  if (value === undefined) return "";
  if (value instanceof Exact) return value.text;
  if (!isContainer(value)) return JSON.stringify(value);
  const indent = "  ".repeat(depth + 1);
  const items = Array.isArray(value)
    ? value.map((item) => indent + asText(item, depth + 1))
    : Object.keys(value).map((name) => `${indent}${JSON.stringify(name)}: ${asText(value[name], depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return items.length ? `${open}\n${items.join(",\n")}\n${"  ".repeat(depth)}${close}` : open + close;
}

// A text is shown as it reads, with its lines; all else as JSON. A long one opens on demand.
function shown(value, kind = "") {
  const text = typeof value === "string" ? value : asText(value);
  const box = make("span", `text ${kind}`, text.slice(0, TEXT_SHOWN));
  if (text.length <= TEXT_SHOWN) return box;
  const more = make("button", "more", `show all ${text.length.toLocaleString("en")} characters`);
  more.type = "button";
  more.addEventListener("click", () => { box.textContent = shownText(text); });
  box.append(document.createElement("br"), more);
  return box;
}

const opened = new Set();
const closed = new Set();

function node(name, value, path, touched, depth) {
  const item = make("li");
  const within = touched.some((each) => each === path || each.startsWith(`${path}/`));
  if (!isContainer(value) || Object.keys(value).length === 0) {
    item.append(make("span", "name", name), ": ", shown(value));
    if (within || touched.some((each) => path.startsWith(`${each}/`))) item.className = "changed";
    return item;
  }
  const fold = make("details", within ? "changed" : "");
  const size = Object.keys(value).length;
  const head = make("summary");
  head.append(make("span", "name", name), make("span", "size", Array.isArray(value) ? ` [${size}]` : ` {${size}}`));
  fold.append(head);
  fold.open = !closed.has(path) && (opened.has(path) || within || (depth < 1 && size <= 20));
  const fill = () => {
    if (fold.childElementCount === 1) fold.append(members(value, path, touched, depth + 1));
  };
  if (fold.open) fill();
  head.addEventListener("click", () => {
    (fold.open ? closed : opened).add(path);
    (fold.open ? opened : closed).delete(path);
  });
  fold.addEventListener("toggle", () => { if (fold.open) fill(); });
  item.append(fold);
  return item;
}

function members(value, path, touched, depth) {
  const list = make("ul");
  const names = Object.keys(value);
  // Of a long list the end is shown: what a session adds stands there.
  let from = Array.isArray(value) ? Math.max(names.length - ITEMS_SHOWN, 0) : 0;
  let to = Array.isArray(value) ? names.length : Math.min(names.length, ITEMS_SHOWN);
  // What changed is shown wherever it stands.
  const within = touched.filter((each) => each.startsWith(`${path}/`));
  const changed = new Set(within.map((each) => tokens(each.slice(path.length))[0]));
  const outside = changed.size ? [...names.keys()].filter((i) => changed.has(names[i])) : [];
  const draw = () => {
    list.replaceChildren();
    const add = (i) => list.append(node(names[i], value[names[i]], step(path, names[i]), touched, depth));
    if (from > 0) list.append(button(`${from.toLocaleString("en")} earlier`, () => { from = Math.max(from - 10 * ITEMS_SHOWN, 0); }));
    outside.filter((i) => i < from).forEach(add);
    for (let i = from; i < to; i += 1) add(i);
    outside.filter((i) => i >= to).forEach(add);
    const left = names.length - to;
    if (left > 0) list.append(button(`${left.toLocaleString("en")} more`, () => { to = Math.min(to + 10 * ITEMS_SHOWN, names.length); }));
  };
  const button = (label, widen) => {
    const item = make("li");
    const made = make("button", "more", label);
    made.type = "button";
    made.addEventListener("click", () => { widen(); draw(); });
    item.append(made);
    return item;
  };
  draw();
  return list;
}

function changeItem(change, before) {
  const item = make("li", change.op);
  const sign = { add: "+", remove: "-", replace: "~" }[change.op];
  item.append(make("span", "path", `${sign} ${change.path || "(the whole state)"}`));
  if (change.op !== "add") item.append(shown(before, "was"));
  if (change.op !== "remove") item.append(shown(change.value, "is"));
  return item;
}

function drawChanges(index) {
  const list = byId("changes");
  list.replaceChildren();
  byId("changed").textContent = index < 0 ? "Nothing happened yet" : "Changed by this event";
  const touched = [];
  if (index < 0) return touched;
  let state = stateAt(index - 1);
  const changes = rest(index).changes;
  changes.forEach((change, number) => {
    const seen = {};
    state = applied(state, change, seen, new Set());
    touched.push(change.path);
    if (number < ITEMS_SHOWN) list.append(changeItem(change, seen.before));
  });
  if (changes.length > ITEMS_SHOWN) list.append(make("li", "", `... ${changes.length - ITEMS_SHOWN} more changes`));
  if (changes.length === 0) list.append(make("li", "about", "nothing in this reducer's state"));
  return touched;
}

function drawEvent(index) {
  const place = byId("event");
  place.replaceChildren();
  if (index < 0) return;
  const row = rows[index];
  const more = rest(index);
  const list = make("dl");
  const told = {
    type: row.type, version: row.version, position: row.position, actor: row.actor, recorded: row.recorded,
    occurred: row.occurred, id: more.id, "caused by": more.causation_id,
    "derived from": (more.derived_from || []).join("\n"), correlation: more.correlation_id,
    tags: (more.tags || []).join("\n"), schema: more.schema_version,
  };
  for (const [name, value] of Object.entries(told)) {
    if (value === null || value === undefined || value === "") continue;
    const said = make("dd");
    said.append(make("span", "text", value));
    list.append(make("dt", "", name), said);
  }
  place.append(list);
  for (const [title, value] of [["Payload", more.data], ["Context", more.context]]) {
    if (value === null || value === undefined) continue;
    const part = make("div", "part");
    part.append(make("h2", "", title), shown(isContainer(value) ? asText(value) : value, "mono"));
    place.append(part);
  }
}

// --- timeline -----------------------------------------------------------------------------------

let current = -1;
let listed = null; // the events that the search found, null: all
let query = "";
const listedCount = () => (listed === null ? rows.length : listed.length);
const listedAt = (place) => (listed === null ? place : listed[place]);

function placeOf(index) {
  if (listed === null) return index;
  let low = 0;
  let high = listed.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (listed[middle] < index) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawRows() {
  const timeline = byId("timeline");
  const first = Math.max(Math.floor(timeline.scrollTop / ROW_PIXELS) - 5, 0);
  const end = Math.min(Math.ceil((timeline.scrollTop + timeline.clientHeight) / ROW_PIXELS) + 5, listedCount());
  const drawn = [];
  for (let place = first; place < end; place += 1) drawn.push(rowItem(listedAt(place), place));
  byId("rows").style.height = `${listedCount() * ROW_PIXELS}px`;
  byId("rows").replaceChildren(...drawn);
  const chosen = byId(`e${current}`);
  if (chosen) timeline.setAttribute("aria-activedescendant", chosen.id);
  else timeline.removeAttribute("aria-activedescendant");
}

function rowItem(index, place) {
  const row = rows[index];
  const item = make("div", "row");
  item.id = `e${index}`;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", String(index === current));
  item.setAttribute("aria-setsize", String(listedCount()));
  item.setAttribute("aria-posinset", String(place + 1));
  item.style.top = `${place * ROW_PIXELS}px`;
  const above = make("div");
  const changes = row.changes ? `  ${row.changes}\u00a0\u0394` : "";
  const when = row.occurred || row.recorded;
  const at = make("span", "count", when.slice(11, 19) + changes);
  at.title = when;
  above.append(at);
  above.append(make("span", "number", `v${row.version}`), make("span", "type", row.type));
  if (row.actor) above.append(make("span", "about", `  ${row.actor}`));
  item.append(above, make("div", "said", row.said));
  item.addEventListener("click", () => show(index));
  return item;
}

function keepInSight(index) {
  const timeline = byId("timeline");
  const top = placeOf(index) * ROW_PIXELS;
  if (index < 0) timeline.scrollTop = 0;
  else if (top < timeline.scrollTop) timeline.scrollTop = top;
  else if (top + ROW_PIXELS > timeline.scrollTop + timeline.clientHeight) timeline.scrollTop = top + ROW_PIXELS - timeline.clientHeight;
}

function show(index) {
  current = Math.max(-1, Math.min(index, rows.length - 1));
  const row = rows[current];
  const touched = drawChanges(current);
  const state = stateAt(current);
  byId("tree").replaceChildren(
    isContainer(state) ? members(state, "", touched, 0) : shown(state),
  );
  drawEvent(current);
  byId("version").value = String(row ? row.version : facts.start - 1);
  byId("when").textContent = row ? `after version ${row.version}` : "at the beginning";
  byId("first").disabled = current < 0;
  byId("back").disabled = current < 0;
  byId("forward").disabled = current === rows.length - 1;
  byId("last").disabled = current === rows.length - 1;
  byId("heard").textContent = row ? shownText(`version ${row.version}: ${row.type}, ${row.changes} changes. ${row.said}`) : "before the first event";
  keepInSight(current);
  drawRows();
  if (row) history.replaceState(null, "", `#v${row.version}`);
}

// --- search -------------------------------------------------------------------------------------

// The words as they stand in a line of the page: as JSON has them, `<`, `>` and `&` written out.
function inLines(words) {
  const escaped = { "<": "\\u003c", ">": "\\u003e", "&": "\\u0026" };
  return JSON.stringify(words).slice(1, -1).replace(/[<>&]/g, (c) => escaped[c]).toLowerCase();
}

// Whether an event's type, actor, summary or payload holds the words; the names that a line of the
// page itself has for its parts are in every line.
function holds(index, words) {
  const row = rows[index];
  const wanted = words.toLowerCase();
  if ([row.type, row.actor, row.said].some((text) => text && text.toLowerCase().includes(wanted))) return true;
  // Without revival, which would take longer than all else here: of numbers the mark is left out.
  const line = lines[index];
  const payload = JSON.stringify(JSON.parse(line.slice(line.indexOf("\t") + 1)).data ?? null);
  return payload.replaceAll('{"\\u0000number":', "").toLowerCase().includes(JSON.stringify(words).slice(1, -1).toLowerCase());
}

function search(words) {
  query = words.trim();
  listed = null;
  if (query !== "") {
    // Most lines are told by their text; of the others only what came from the event counts.
    const wanted = inLines(query);
    listed = [];
    lines.forEach((line, index) => { if (line.toLowerCase().includes(wanted) && holds(index, query)) listed.push(index); });
  }
  byId("found").textContent = listed === null ? "" : `${listed.length.toLocaleString("en")} found`;
  byId("timeline").scrollTop = 0;
  keepInSight(current);
  drawRows();
}

function match(direction) {
  const place = placeOf(current);
  const exact = place < listedCount() && listedAt(place) === current;
  const next = direction > 0 ? place + (exact ? 1 : 0) : place - 1;
  if (next >= 0 && next < listedCount()) show(listedAt(next));
}

// --- keys ---------------------------------------------------------------------------------------

const page = () => Math.max(Math.floor(byId("timeline").clientHeight / ROW_PIXELS) - 1, 1);
const go = (places) => () => show(current + places);
const KEYS = [
  ["ArrowRight l", "one event forward", go(1)],
  ["ArrowLeft h", "one event back", go(-1)],
  ["ArrowDown j", "the next one listed", () => match(1)],
  ["ArrowUp k", "the one listed before", () => match(-1)],
  ["PageDown", "a page forward", () => show(current + page())],
  ["PageUp", "a page back", () => show(current - page())],
  ["Home", "before the first event", () => show(-1)],
  ["End", "the last event", () => show(rows.length - 1)],
  ["/", "search types, actors and payloads", () => byId("search").focus()],
  ["n", "next match", () => match(1)],
  ["N", "previous match", () => match(-1)],
  ["g", "go to a version", () => { byId("version").focus(); byId("version").select(); }],
  ["Escape", "leave the search, or this list", () => { byId("search").value = ""; search(""); byId("timeline").focus(); }],
  ["?", "these keys", () => byId("keys").showModal()],
];
const actions = new Map(KEYS.flatMap(([names, , action]) => names.split(" ").map((name) => [name, action])));
// In the panes that scroll these keys scroll.
const SCROLLING = new Set(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End"]);

document.addEventListener("keydown", (pressed) => {
  if (pressed.ctrlKey || pressed.metaKey || pressed.altKey || byId("keys").open) return;
  const within = document.activeElement;
  if (within instanceof HTMLInputElement) {
    if (pressed.key === "Enter") {
      if (within.id === "version") goTo(Number(within.value));
      else if (query !== "") match(1);
      byId("timeline").focus();
      pressed.preventDefault();
    }
    if (pressed.key !== "Escape") return;
  }
  if (SCROLLING.has(pressed.key) && within && ["state", "event"].includes(within.id)) return;
  const action = actions.get(pressed.key);
  if (!action) return;
  pressed.preventDefault();
  action();
});

// The event of that version, or the last one before it.
function goTo(version) {
  if (Number.isFinite(version)) show(Math.floor(version) - facts.start);
}

byId("stream").textContent = shownText(facts.stream);
byId("about").textContent = shownText(`reducer ${facts.reducer}, ${rows.length.toLocaleString("en")} events`);
byId("of").textContent = rows.length ? `of ${rows[rows.length - 1].version}` : "";
byId("version").min = String(facts.start - 1);
byId("version").max = String(facts.start - 1 + rows.length);
for (const [names, what] of KEYS) {
  const keys = make("dt");
  names.split(" ").forEach((name) => keys.append(make("kbd", "", name), " "));
  byId("keylist").append(keys, make("dd", "", what));
}
byId("first").addEventListener("click", () => show(-1));
byId("back").addEventListener("click", go(-1));
byId("forward").addEventListener("click", go(1));
byId("last").addEventListener("click", () => show(rows.length - 1));
byId("ask").addEventListener("click", () => byId("keys").showModal());
byId("fold").addEventListener("click", () => { opened.clear(); closed.clear(); show(current); });
byId("search").addEventListener("input", () => search(byId("search").value));
byId("version").addEventListener("change", () => goTo(Number(byId("version").value)));
byId("timeline").addEventListener("scroll", drawRows);
window.addEventListener("resize", drawRows);
const linked = /^#v(\d+)$/.exec(location.hash);
if (linked) goTo(Number(linked[1]));
else show(rows.length ? 0 : -1);
byId("timeline").focus();
