'use strict';
// Only places computed data. All text is inserted as text, never as markup.
const D = JSON.parse(document.getElementById('data').textContent);
const at = id => document.getElementById(id);
const SVG = 'http' + '://www.w3.org/2000/svg';
const state = { w: 0, a: 0, b: 5, fn: 0, us: null, imports: false, overview: false, python: false };

/** An element with its attributes and what is in it. */
function el(name, attributes, ...inside) {
  const svg = ['svg', 'rect', 'line', 'text', 'title', 'g', 'circle'].includes(name);
  const element = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) element[key] = value; else element.setAttribute(key, value);
  }
  element.append(...inside.flat().filter(x => x !== null && x !== undefined));
  return element;
}

const W = () => D.workloads[state.w];
const run = side => W().runs[side];
/** The Python beside the pair, if it is shown: that of the left style, or else of the right one. */
const python = () => state.python ? W().python[state.a] || W().python[state.b] : null;
const functions = () => pair().parts.map(p => p[0]).filter(n => n && n !== '//' && n !== 'use');

/** The pair as it was aligned, turned round if the right style stands first. */
function pair() {
  const { a, b } = state;
  if (a === b) {
    const n = W().files[a].lines.length;
    return { counts: [n, 0, 0], parts: [['', [[0, 0, n]]]] };
  }
  if (a < b) return W().pairs[a + '-' + b];
  const turned = W().pairs[b + '-' + a];
  const moved = { '<': '>', '>': '<' };
  const turn = ([l, r, kind, ml, mr]) => [r, l, moved[kind] || kind, mr, ml];
  return { counts: turned.counts, parts: turned.parts.map(([n, rows]) => [n, rows.map(turn)]) };
}

// ---- lines ---------------------------------------------------------------------------------

/** A line of code: classes of tokens inside marks. */
function line(place, marks) {
  const [text, classes] = D.lines[place];
  const chars = Array.from(text);
  const of = [], marked = [];
  for (const [, letter, n] of classes.matchAll(/([a-z.])(\d+)/g)) {
    for (let i = 0; i < n; i++) of.push(letter);
  }
  for (const [, letter, from, n] of (marks || '').matchAll(/([a-z])(\d+)\.(\d+)/g)) {
    for (let i = 0; i < n; i++) marked[+from + i] = letter;
  }
  const parts = [];
  for (let i = 0; i < chars.length;) {
    const mark = marked[i];
    const inside = [];
    while (i < chars.length && marked[i] === mark) {
      const from = i, letter = of[i];
      while (i < chars.length && marked[i] === mark && of[i] === letter) i++;
      const piece = chars.slice(from, i).join('');
      inside.push(letter === 'w' ? el('u', null, piece)
        : letter === '.' ? piece : el('i', { class: letter }, piece));
    }
    parts.push(...(mark ? [el('b', { class: mark }, inside)] : inside));
  }
  return parts;
}

function half(side, style, n, sign, marks) {
  if (n < 0) return [el('td', { class: 'n gap' }), el('td', { class: 'l gap' })];
  const file = W().files[style];
  return [
    el('td', { class: 'n ' + side }, sign ? el('b', null, sign) : null, String(n + 1)),
    el('td', { class: (D.lines[file.lines[n]][0] ? 'l ' : 'l empty ') + side, 'data-line': n + 1 }, line(file.lines[n], marks)),
  ];
}

/** The line of the Python file that stands in a row; `undefined` leaves a gap. */
function third(n) {
  if (n === undefined) return [el('td', { class: 'n gap' }), el('td', { class: 'y gap' })];
  return [el('td', { class: 'n' }, String(n + 1)), el('td', { class: 'y' }, line(python().lines[n]))];
}

/** For each part of the pair the lines of the Python part of its name, and of those behind it that
 *  have no namesake. */
function besides() {
  const names = pair().parts.map(p => p[0]).filter(Boolean), lines = {};
  let last = 'use';
  for (const [name, from, to] of python() ? python().parts : []) {
    if (names.includes(name)) last = name;
    lines[last] = (lines[last] || []).concat(Array.from({ length: to - from }, (_, i) => from + i));
  }
  return lines;
}

const SIGNS = { s: ['~', '~'], x: ['+', '+'], '<': ['↕', '+'], '>': ['+', '↕'], '=': ['↕', '↕'] };

function row(l, r, kind, ml, mr, first, beside) {
  const { a, b } = state;
  const [left, right] = SIGNS[kind] || ['', ''];
  const name = kind === 'a' ? 'async' : kind === 's' ? 's' : SIGNS[kind] ? 'x' : 'same';
  const blank = (style, n) => n < 0 || !D.lines[W().files[style].lines[n]][0];
  const [signA, signB] = [blank(a, l) ? '' : left, blank(b, r) ? '' : right];
  return el('tr', { class: name + (first ? ' fn' : '') },
    beside, half('a', a, l, signA, ml), half('b', b, r, signB, mr));
}

function rows(part) {
  const all = [];
  for (const [l, r, kind, ml, mr] of part) {
    if (typeof kind !== 'number') all.push([l, r, kind, ml, mr]);
    else for (let i = 0; i < kind; i++) all.push([l + i, r + i, '']);
  }
  return all;
}

function code() {
  const body = el('tbody'), beside = besides(), py = python();
  for (const [name, part] of pair().parts) {
    if (name === '//') continue;
    if (name === 'use' && !state.imports) {
      const fold = style => el('td', { colspan: 2 }, '▸ ' + W().files[style].imports);
      body.append(el('tr', { class: 'fold', title: 'imports (i)', onclick: () => set({ imports: true }) },
        py ? el('td', { colspan: 2 }, '▸ imports') : null, fold(state.a), fold(state.b)));
      continue;
    }
    const lines = py && name && beside[name] || [], all = rows(part);
    while (all.length < lines.length) all.push([-1, -1, '']);
    all.forEach((r, i) => {
      const tr = row(...r.slice(0, 5).concat(Array(5 - r.length).fill('')), i === 0 && name !== '', py ? third(lines[i]) : []);
      if (i === 0 && name) tr.dataset.fn = name;
      body.append(tr);
    });
  }
  const columns = el('colgroup', null, ['n', 'l', 'n', 'l'].concat(py ? ['n', 'l'] : []).map(c => el('col', { class: c })));
  at('code').replaceChildren(el('table', { class: py ? 'code three' : 'code' }, columns, body));
}

/** On which lines the tasks wait at the time of the cursor. */
function badges() {
  document.querySelectorAll('.badge').forEach(b => b.remove());
  for (const [side, style] of [['a', state.a], ['b', state.b]]) {
    const waits = run(style) && run(style).badges;
    if (!waits || state.us === null) continue;
    const counts = waits.at[Math.round(state.us / W().step_us)] || [];
    for (let i = 0; i < counts.length; i += 2) {
      const cell = document.querySelector(`.code td.l.${side}[data-line="${counts[i]}"]`);
      if (!cell) continue;
      const where = waits.elsewhere ? 'in ' + waits.elsewhere.split('/').pop() : 'here';
      cell.append(el('span', { class: 'badge' }, `${counts[i + 1]} of ${waits.of} tasks wait ${where}`));
    }
  }
}

// ---- strips and pictures -------------------------------------------------------------------

function strip(side, style) {
  const words = W().files[style].caption.split('`').map((text, i) => i % 2 ? el('code', null, text) : text);
  return figures(side, D.styles[style], words, run(style), 'cargo run --bin compare ' + W().name);
}

/** What a run took, under its name. */
function figures(side, name, words, r, command) {
  const title = el('span', { class: 'name' }, name), caption = el('div', { class: 'caption' }, words);
  if (!r || r.not_run) {
    const why = r ? r.not_run : 'not run: ' + command;
    return el('div', { class: 'strip ' + side }, title, el('span', { class: r ? 'bad' : 'muted' }, why), caption);
  }
  const both = [state.a, state.b].map(run).concat(python() ? python().run : []).filter(x => x && x.wall_s);
  const most = Math.max(...both.flatMap(x => [x.wall_s, x.limit_s || 0, x.spread_s ? x.spread_s[1] : 0])) * 1.03;
  const x = seconds => `${(100 * seconds / most).toFixed(2)}%`;
  const bar = r.wall_s ? el('svg', { role: 'img', 'aria-label': r.median },
    el('rect', { class: 'bar', width: x(r.wall_s), height: 16 }),
    r.limit_s ? el('line', { class: 'limit', x1: x(r.limit_s), x2: x(r.limit_s), y1: 0, y2: 16 }) : null,
    r.spread_s ? el('line', { class: 'whisker', x1: x(r.spread_s[0]), x2: x(r.spread_s[1]), y1: 8, y2: 8 }) : null) : null;
  const word = r.expectation && r.expectation.verdict;
  return el('div', { class: 'strip ' + side }, title, el('span', { class: 'median' }, r.median || ''), bar,
    r.facts.map(f => el('span', null, f)),
    el('span', { class: r.fault ? 'bad' : 'good' }, r.fault ? '≠ ' + r.fault : '✓ same answer'),
    word && word !== 'holds' ? el('span', { class: word === 'does not hold' ? 'bad' : '', title: r.expectation.evidence }, word) : null,
    caption);
}

const ms = us => us >= 10e6 ? `${+(us / 1e6).toPrecision(3)} s` : `${+(us / 1e3).toPrecision(4)} ms`;

/** A round distance of about `most` / 6. */
function nice(most) {
  const raw = most / 6, ten = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map(f => f * ten).find(f => f >= raw);
}

/** The axis of a time, and the cursor where there is one. */
function axis(svg, x, most, height, width, cursor) {
  const gap = nice(most);
  const here = cursor && state.us !== null ? x(state.us) : null;
  for (let t = 0; t <= most; t += gap) {
    svg.append(el('line', { class: 'grid', x1: x(t), x2: x(t), y1: 0, y2: height }));
    const free = here === null || Math.abs(x(t) - here) > 54;
    if (x(t) < width - 18 && free) svg.append(el('text', { x: x(t), y: height + 14, 'text-anchor': x(t) < 16 ? 'start' : 'middle' }, ms(t)));
  }
  if (here !== null) {
    const label = ms(state.us), wide = label.length * 8 + 8, left = Math.min(here - wide / 2, width - wide);
    svg.append(el('line', { class: 'cursor', x1: here, x2: here, y1: 0, y2: height + 3 }),
      el('text', { class: 'strong', x: left + wide / 2, y: height + 14, 'text-anchor': 'middle' }, label));
  }
}

const LEFT = 34;
const draw = {
  timeline(svg, p, box) {
    const x = t => LEFT + (box.width - LEFT - 6) * t / box.most;
    const column = p.length_us / p.columns, tall = box.height / p.rows.length;
    const each = Math.ceil(16 / tall);
    p.rows.forEach(([task, cells], i) => {
      const y = i * tall;
      if (i % each === 0) svg.append(el('text', { x: LEFT - 6, y: y + Math.max(tall / 2, 4) + 4, 'text-anchor': 'end' }, String(task)));
      for (let c = 0; c < cells.length; c += 3) {
        const [kind, from, n] = cells.slice(c, c + 3);
        const high = Math.min(kind === 1 ? Math.min(tall * 0.45, 5) : Math.min(tall * 0.85, 12), tall);
        svg.append(el('rect', { class: 'k' + kind, x: x(from * column), width: Math.max(x((from + n) * column) - x(from * column), kind === 3 ? 2 : 1),
          y: y + (Math.min(tall, 14) - high) / 2, height: high }));
      }
    });
    return x;
  },
  ladder(svg, p, box) {
    const x = t => 74 + (box.width - 74 - 24) * t / box.most;
    const tall = box.height / p.steps.length, each = Math.ceil(13 / tall);
    p.steps.forEach((s, i) => {
      const y = (i + 0.5) * tall;
      if (i % each === 0) svg.append(el('text', { x: 68, y: y + 4, 'text-anchor': 'end' }, s.name));
      svg.append(el('rect', { class: 'k1', x: x(s.from_us), width: Math.max(x(s.to_us) - x(s.from_us), 1), y: y - 2, height: Math.min(4, tall) }),
        el('text', { class: 'strong', x: x(s.to_us) + 3, y: y + 4 }, s.sign));
    });
    if (p.mark_us) svg.append(el('line', { class: 'limit', 'stroke-dasharray': '4 3', x1: x(p.mark_us), x2: x(p.mark_us), y1: 0, y2: box.height }));
    return x;
  },
  strips(svg, p, box) {
    const all = [p.careless, p.careful];
    const most = Math.max(...box.both.flatMap(q => [q.careless, q.careful].map(s => Math.max(...s.beats_us, s.count_us[1]) - Math.min(s.beats_us[0], s.count_us[0]))));
    const x = t => 70 + (box.width - 80) * t / most;
    all.forEach((s, i) => {
      const y = i * box.height / 2, first = Math.min(s.beats_us[0], s.count_us[0]);
      svg.append(el('text', { x: 64, y: y + box.height / 4 + 4, 'text-anchor': 'end' }, i ? 'careful' : 'careless'),
        el('rect', { class: 'k1', x: x(s.count_us[0] - first), y: y + box.height / 4 + 4, width: x(s.count_us[1]) - x(s.count_us[0]), height: 10 }));
      for (const beat of s.beats_us) svg.append(el('rect', { class: 'k3', x: x(beat - first), y: y + 4, width: 3, height: box.height / 4 - 4 }));
    });
    svg.append(el('text', { x: 70, y: box.height + 14 }, `red: a beat, grey: counting · ${ms(most)}`));
  },
  orders(svg, p, box) {
    const shown = p.orders.slice(0, 20), letters = [...new Set(p.orders.join(''))].sort();
    const tall = box.height / shown.length, wide = (box.width - 12) / Math.max(...shown.map(o => o.length));
    shown.forEach((order, i) => [...order].forEach((c, j) => svg.append(el('rect', {
      class: 't' + letters.indexOf(c) % 3, x: 6 + j * wide, y: i * tall, width: wide - 1, height: Math.max(tall - 1, 1) }))));
    svg.append(el('text', { x: 6, y: box.height + 14 }, `${new Set(p.orders).size} different of ${p.orders.length} orders: one row per run, one color per task`));
  },
  errors(svg, p, box) {
    const most = Math.max(1, ...box.both.flatMap(q => q.careless.map(Math.abs)));
    const middle = box.height / 2, wide = (box.width - 20) / p.careless.length;
    svg.append(el('line', { class: 'cursor', x1: 6, x2: box.width - 6, y1: middle, y2: middle }));
    p.careless.forEach((n, i) => {
      const high = Math.abs(n) / most * (middle - 14), x = 10 + i * wide;
      svg.append(el('rect', { class: 'k3', x: x + wide * 0.2, width: wide * 0.6, y: n > 0 ? middle - high : middle, height: high }),
        el('text', { x: x + wide / 2, y: n > 0 ? middle - high - 3 : middle + high + 12, 'text-anchor': 'middle' }, (n > 0 ? '+' : '') + n));
    });
    svg.append(el('text', { x: 6, y: box.height + 14 }, 'careless: by how much each account is wrong; careful: 0'));
  },
  histogram(svg, p, box) {
    const most = Math.max(...box.both.map(q => Math.max(...q.counts) / 1)), to = Math.max(...box.both.map(q => q.to_ms));
    const x = t => 6 + (box.width - 12) * t / to, step = (p.to_ms - p.from_ms) / p.counts.length;
    p.counts.forEach((n, i) => {
      const high = n / most * (box.height - 2);
      svg.append(el('rect', { class: box.bar, x: x(p.from_ms + i * step), width: Math.max(x(step) - x(0) - 0.5, 0.5), y: box.height - high, height: high }));
    });
    axis(svg, t => x(t / 1000), to * 1000, box.height, box.width, false);
  },
  'log-bars'(svg, p, box) {
    const columns = [['bytes', n => n < 1024 ? `${Math.round(n)} B` : `${(n / 1024).toFixed(1)} KiB`], ['start_s', s => time(s)], ['switch_s', s => time(s)]];
    const time = s => s < 1e-6 ? `${(s * 1e9).toFixed(0)} ns` : `${(s * 1e6).toFixed(1)} µs`;
    const names = { bytes: 'memory per task', start_s: 'starting one', switch_s: 'a switch' };
    const wide = (box.width - 104) / 3, tall = (box.height - 14) / p.rows.length;
    columns.forEach(([name, words], c) => {
      const values = box.both.flatMap(q => q.rows.map(r => r[name])).filter(v => v > 0);
      const [low, high] = [Math.log(Math.min(...values) / 2), Math.log(Math.max(...values))];
      svg.append(el('text', { x: 100 + c * wide, y: 12 }, names[name]));
      p.rows.forEach((r, i) => {
        const y = 16 + i * tall, long = Math.max((Math.log(r[name]) - low) / (high - low || 1), 0.02) * (wide - 84);
        if (c === 0) svg.append(el('text', { x: 94, y: y + tall / 2 + 4, 'text-anchor': 'end' }, r.name));
        svg.append(el('rect', { class: i === 0 ? box.bar : 'k1', x: 100 + c * wide, width: Math.max(long, 1), y: y + 1, height: Math.max(Math.min(tall - 3, 20), 2) }),
          el('text', { class: 'strong', x: 104 + c * wide + long, y: y + Math.min(tall - 3, 20) / 2 + 5 }, words(r[name])));
      });
    });
    svg.append(el('text', { x: 100, y: box.height + 14 }, 'log scale'));
  },
  pause(svg, p, box) {
    const steps = [...p.before.map(String), '▌▌', ...p.after.map(String), '■'];
    const wide = (box.width - 20) / steps.length, y = box.height / 2;
    steps.forEach((s, i) => {
      const x = 10 + i * wide, still = s === '▌▌' || s === '■';
      svg.append(el('rect', { class: still ? 'k1' : box.bar, x, width: wide - 4, y: y - 18, height: 30 }),
        el('text', { class: 'strong', x: x + wide / 2 - 2, y: y + 30, 'text-anchor': 'middle' }, s));
    });
    svg.append(el('text', { x: 10, y: box.height + 14 }, `${p.at_confirm} produced when the pause was confirmed, ${p.at_resume} at resume, ${p.at_end} at the end`));
  },
};

function picture(side, style, height, all) {
  const r = run(style);
  const p = r && r.picture;
  if (!p || !draw[p.kind]) {
    return el('div', { class: 'picture none hatch ' + side }, r && !r.not_run ? 'no picture' : 'not run');
  }
  const width = all ? 360 : Math.max(300, Math.floor(document.documentElement.clientWidth / (python() ? 3 : 2)) - 25);
  const both = (all ? W().runs : [state.a, state.b].map(run)).filter(x => x && x.picture && x.picture.kind === p.kind).map(x => x.picture);
  const most = Math.max(...both.map(q => q.length_us || 1)) * 1.01;
  const svg = el('svg', { viewBox: `0 -5 ${width} ${height + 23}`, role: 'img', 'aria-label': `${D.styles[style]}: ${p.kind}` });
  const x = draw[p.kind](svg, p, { width, height, most, both, bar: side === 'b' ? 't2' : 't1' });
  if (x) {
    axis(svg, x, most, height, width, !all);
    if (!all) svg.onclick = event => {
      const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * width;
      set({ us: snap((at - x(0)) / (x(most) - x(0)) * most) });
    };
  }
  return el('div', { class: 'picture ' + side }, svg);
}

/** The longest of all runs of this workload, and where the cursor may stand. */
const longest = () => Math.max(0, ...[state.a, state.b].map(run).map(r => r && r.picture && r.picture.length_us || 0));
const snap = us => Math.min(Math.max(Math.round(us / W().step_us), 0), Math.floor(longest() / W().step_us)) * W().step_us;

// ---- below, and the overview ---------------------------------------------------------------

function below() {
  const words = [];
  const differing = [state.a, state.b].filter(s => run(s) && run(s).fault);
  const answer = W().answer;
  if (answer) words.push(el('h2', null, differing.length ? 'Answers' : 'The answer, the same in both'), el('pre', null, answer.join('\n')));
  for (const style of differing.filter(s => run(s).answer)) {
    const other = run(style).answer.filter((text, i) => text !== (answer || [])[i]);
    words.push(el('h2', null, `${D.styles[style]} answers instead`), el('pre', null, other.join('\n') || '(fewer lines)'));
  }
  const ran = W().rows;
  if (ran.length) {
    words.push(el('h2', null, 'Measured'), el('table', null, el('tr', null, D.columns.map(c => el('th', null, c))),
      ran.map(r => el('tr', null, r.not_run
        ? [el('td', null, r.cells[0]), el('td', { colspan: D.columns.length - 1 }, r.not_run)]
        : r.cells.map(c => el('td', null, c))))));
    for (const style of [state.a, state.b]) {
      const e = run(style) && run(style).expectation;
      if (e) words.push(el('p', null, `${D.styles[style]}: ${e.says}: ${e.verdict}. ${e.evidence}`));
    }
  }
  D.conclusions.forEach(text => words.push(el('p', null, text)));
  if (D.claims.length) {
    const head = el('tr', null, ['', 'slide', 'what the talk claims', ...D.styles, ...D.python ? [D.python] : []].map(c => el('th', null, c)));
    const body = D.claims.map(([id, slide, says, verdicts]) => el('tr', null,
      [id, slide, says].map(c => el('td', null, c)),
      verdicts.map(([word, evidence]) => el('td', { title: evidence, class: word === 'does not hold' ? 'bad' : '' }, word || '–'))));
    const columns = el('colgroup', null, el('col', { class: 'id' }), el('col', { class: 'slide' }), el('col', { style: 'width:22%' }));
    words.push(el('h2', { id: 'claims' }, 'The claims'), el('table', { class: 'claims' }, columns, head, body));
  }
  const a = D.about;
  if (a) words.push(el('p', { class: 'muted' }, `${a.profile} build, ${a.cores} cores of ${a.cpu}, Linux ${a.kernel}, ${a.date}, commit ${a.commit}`));
  words.push(el('p', { class: 'muted' }, 'Repeat it: cargo run --release --bin compare ' + (D.workloads.filter(w => w.runs.some(Boolean)).length === 1 ? W().name + ' ' : '') + D.flags));
  at('below').replaceChildren(...words);
}

function overview() {
  const card = (name, style) => {
    const r = run(style), file = W().files[style];
    const facts = r && !r.not_run ? [r.median, ...r.facts, r.fault] : [r ? r.not_run : 'not run'];
    return el('div', { class: 'card', onclick: () => set({ overview: false, b: style }) },
      el('b', null, name), el('p', null, [...facts.filter(Boolean), `${file.lines.length} lines`].join(' · ')),
      picture('a', style, 66, true),
      file.short.map(n => el('div', { class: 'l' }, trimmed(line(file.lines[n])))));
  };
  at('overview').replaceChildren(el('div', { class: 'cards' }, D.styles.map(card)));
}

/** Without the indentation. */
function trimmed(parts) {
  if (typeof parts[0] === 'string') parts[0] = parts[0].trimStart();
  return parts;
}

// ---- state ---------------------------------------------------------------------------------

function read() {
  const [w, a, b, rest, shown] = decodeURIComponent(location.hash.slice(1)).split('/');
  const index = (list, name, otherwise) => { const i = list.indexOf(name); return i < 0 ? otherwise : i; };
  const ran = D.workloads.findIndex(x => x.runs.some(Boolean));
  state.w = index(D.workloads.map(x => x.name), w, Math.max(ran, 0));
  const has = W().runs.map((r, i) => r ? i : -1).filter(i => i >= 0);
  const [one, other] = has.length > 1 && !(has.includes(0) && has.includes(5)) ? has : [0, 5];
  state.a = index(D.styles, a, one);
  state.b = index(D.styles, b, other);
  const [name, time] = (rest || '').split('@');
  state.overview = name === 'overview';
  state.python = shown === 'python';
  state.fn = Math.max(functions().indexOf(name), 0);
  state.us = longest() ? snap(time ? time * 1000 : longest() / 2) : null;
}

function write() {
  const name = state.overview ? 'overview' : functions()[state.fn] || '';
  const time = state.us === null ? '' : '@' + state.us / 1000;
  history.replaceState(null, '', `#${W().name}/${D.styles[state.a]}/${D.styles[state.b]}/${name}${time}${state.python ? '/python' : ''}`);
}

/** Changes the state, and draws what depends on it. */
function set(change) {
  const pairChanged = ['w', 'a', 'b'].some(key => key in change && change[key] !== state[key]);
  const { us } = state;
  Object.assign(state, change);
  if (pairChanged) {
    state.fn = Math.min(state.fn, Math.max(functions().length - 1, 0));
    state.us = longest() ? snap('w' in change || us === null ? longest() / 2 : us) : null;
  }
  if (pairChanged || 'imports' in change || 'python' in change) code();
  show(pairChanged);
  if (pairChanged || 'fn' in change || 'python' in change) scroll();
}

function scroll() {
  const first = document.querySelector(`tr[data-fn="${functions()[state.fn]}"]`);
  scrollTo(state.fn === 0 ? null : first);
}

function scrollTo(element) {
  const box = at('scroll');
  box.scrollTop = element ? element.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop : 0;
}

function show(everything) {
  document.title = `${W().name}: ${D.styles[state.a]} | ${D.styles[state.b]}`;
  for (const [id, value] of [['workload', state.w], ['left', state.a], ['right', state.b]]) at(id).value = value;
  at('slides').textContent = 'slides ' + W().slides;
  const [alike, async, differ] = pair().counts;
  const none = state.python && !python() ? ' · no Python file for this' : '';
  at('counts').textContent = `${alike} alike · ${async} but for async · ${differ} differ${none}`;
  at('functions').replaceChildren(...functions().map((name, i) =>
    el('a', { href: '#', class: i === state.fn ? 'on' : '', onclick: () => (set({ fn: i }), false) }, name)));
  for (const id of ['strips', 'pictures', 'code', 'below', 'functions', 'legend', 'counts']) at(id).hidden = state.overview;
  at('overview').hidden = !state.overview;
  if (state.overview) overview();
  else {
    const py = python(), command = 'cargo run --bin compare -- --python ' + W().name;
    const beside = py ? [figures('p', D.python || 'Python', py.path, py.run, command)] : [];
    at('strips').replaceChildren(...beside, strip('a', state.a), strip('b', state.b));
    const height = innerHeight <= 800 ? 72 : 96;
    const none = py ? [el('div', { class: 'picture none p' }, 'of Python no timeline is taken')] : [];
    at('pictures').replaceChildren(...none, picture('a', state.a, height), picture('b', state.b, height));
    for (const id of ['strips', 'pictures']) at(id).className = py ? 'two three' : 'two';
    badges();
    if (everything) below();
  }
  write();
}

function theme() {
  const dark = document.documentElement.classList.contains('dark') ||
    !document.documentElement.classList.contains('light') && matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.className = dark ? 'light' : 'dark';
}

function size(by) {
  const now = parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--size'));
  document.documentElement.style.setProperty('--size', Math.min(Math.max(now + by, 9), 40) + 'px');
}

const turn = (n, by, of) => (n + by + of) % of;
const moved = by => state.us === null ? {} : { us: snap(state.us + by * W().step_us * Math.max(1, Math.round(longest() / W().step_us / 50))) };
const KEYS = [
  ['x', '⇄ swap the sides', () => set({ a: state.b, b: state.a })],
  ['w', 'next workload', () => set({ w: turn(state.w, 1, D.workloads.length), fn: 0 })],
  ['W', 'workload before', () => set({ w: turn(state.w, -1, D.workloads.length), fn: 0 })],
  ['j', 'next function', () => set({ fn: Math.min(state.fn + 1, functions().length - 1) })],
  ['k', 'function before', () => set({ fn: Math.max(state.fn - 1, 0) })],
  ['ArrowLeft', '← earlier', () => set(moved(-1))],
  ['ArrowRight', '→ later', () => set(moved(1))],
  ['i', 'imports', () => set({ imports: !state.imports })],
  ['o', 'overview of all styles', () => set({ overview: !state.overview })],
  ['c', 'claims', () => { set({ overview: false }); scrollTo(at('claims')); }],
  ['p', 'the talk\'s Python beside both', () => set({ python: !state.python, overview: false })],
  ['t', 'light or dark', theme],
  ['+', 'larger', () => size(1)],
  ['-', 'smaller', () => size(-1)],
  ['?', 'help', () => at('help').open ? at('help').close() : at('help').showModal()],
];

function start() {
  const options = (id, names, key) => {
    at(id).replaceChildren(...names.map((name, i) => el('option', { value: i }, name)));
    at(id).onchange = event => { set({ [key]: +event.target.value }); event.target.blur(); };
  };
  options('workload', D.workloads.map(w => w.name), 'w');
  options('left', D.styles, 'a');
  options('right', D.styles, 'b');
  at('swap').onclick = KEYS[0][2];
  const button = ([key, what, does]) =>
    el('button', { title: `${what} (${key})`, onclick: does }, { ArrowLeft: '←', ArrowRight: '→' }[key] || key);
  at('buttons').replaceChildren(...KEYS.filter(([key]) => 'ocpt?'.includes(key)).map(button));
  at('help').replaceChildren(el('table', null, [['1–8', 'left style'], ['Shift+1–8', 'right style'], ...KEYS].map(key =>
    el('tr', null, el('td', null, key[2] ? button(key) : el('b', null, key[0])), el('td', null, key[1])))));
  onkeydown = event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const digit = /^Digit([1-8])$/.exec(event.code);
    if (digit) return set(event.shiftKey ? { b: digit[1] - 1 } : { a: digit[1] - 1 });
    const key = KEYS.find(([name]) => name === event.key);
    if (key) { key[2](); event.preventDefault(); }
  };
  onhashchange = () => { read(); code(); show(true); scroll(); };
  onresize = () => show(false);
  at('scroll').focus();
  read();
  code();
  show(true);
  scroll();
}

start();
