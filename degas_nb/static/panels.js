// Panels of a live view. Each takes a host element and returns a function that draws the values it is handed.
// They keep nothing but their own elements: drawing the same values twice gives the same picture.

const SVG_NS = 'http://www.w3.org/2000/svg';
const DASHES = ['', '7 3', '2 3', '9 3 2 3', '4 2', '1 2'];

function make(tag, parent, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function draw(tag, parent, attributes, text) {
  const node = document.createElementNS(SVG_NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function shortNumber(value) {
  if (!Number.isFinite(value)) return 'nan';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

// Index of the largest finite value; -1 when there is none, or all are equal.
function winner(values) {
  let best = -1;
  values.forEach((value, i) => {
    if (Number.isFinite(value) && (best < 0 || value > values[best])) best = i;
  });
  const known = [...values].filter(Number.isFinite);
  return known.length > 1 && known.every(value => value === known[0]) ? -1 : best;
}

// Bars for every edge: edges = [{name, ops: [name], values: Float32Array}]; limit = value of a full bar.
function barPanel(host) {
  let known = '', rows = [];
  function build(edges) {
    host.replaceChildren();
    rows = edges.map(edge => {
      const box = make('section', host, 'dg-edge');
      const head = make('h4', box, 'dg-edge-name', edge.name);
      const bars = edge.ops.map(op => {
        const row = make('div', box, 'dg-row');
        make('span', row, 'dg-op', op).title = op;
        const track = make('span', row, 'dg-track');
        const fill = make('span', track, 'dg-fill');
        const mark = make('span', track, 'dg-mark');
        return {row, fill, mark, number: make('span', row, 'dg-number')};
      });
      return {head, bars};
    });
  }
  return (edges, limit) => {
    const shape = JSON.stringify(edges.map(edge => [edge.name, edge.ops]));
    if (shape !== known) { build(edges); known = shape; }
    edges.forEach((edge, e) => {
      const best = winner(edge.values);
      edge.ops.forEach((op, i) => {
        const {row, fill, mark, number} = rows[e].bars[i], value = edge.values[i];
        const share = Number.isFinite(value) ? Math.min(1, Math.max(0, value / limit)) : 0;
        fill.style.width = `${100 * share}%`;
        mark.style.left = `${100 / edge.ops.length / limit}%`;
        number.textContent = Number.isFinite(value) ? value.toFixed(2) : 'nan';
        row.classList.toggle('dg-best', i === best);
        row.classList.toggle('dg-nan', !Number.isFinite(value));
      });
    });
  };
}

// One picture: bytes = uint8 rgb of height x width.
function picturePanel(host) {
  const canvas = make('canvas', host, 'dg-canvas');
  return (bytes, height, width) => {
    if (!bytes || !height || !width || bytes.length !== 3 * height * width) return false;
    canvas.width = width;
    canvas.height = height;
    canvas.style.width = `${width * Math.max(1, Math.round(320 / width))}px`;
    const context = canvas.getContext('2d'), image = context.createImageData(width, height);
    for (let i = 0, j = 0; i < bytes.length; i += 3, j += 4) {
      image.data[j] = bytes[i];
      image.data[j + 1] = bytes[i + 1];
      image.data[j + 2] = bytes[i + 2];
      image.data[j + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return true;
  };
}

// Limits of the finite values of all series, and whether a log axis reads better.
function valueRange(series) {
  let low = Infinity, high = -Infinity;
  for (const {ys} of series) for (const y of ys) if (Number.isFinite(y)) { low = Math.min(low, y); high = Math.max(high, y); }
  if (low > high) return null;
  const log = low > 0 && high / low > 20;
  if (low === high) { low -= Math.abs(low) / 2 || 1; high += Math.abs(high) / 2 || 1; }
  return {low, high, log};
}

// Move labels apart so that no two are nearer than `gap`.
function spread(labels, gap, bottom) {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, i) => { if (i) label.y = Math.max(label.y, labels[i - 1].y + gap); });
  const over = labels.length ? labels[labels.length - 1].y - bottom : 0;
  if (over > 0) labels.forEach(label => { label.y -= over; });
}

// Lines with a label at the end of each: series = [{name, xs, ys}].
function curvePanel(host) {
  const W = 440, H = 190, left = 46, top = 10, bottom = 22;
  const root = draw('svg', host, {viewBox: `0 0 ${W} ${H}`, class: 'dg-svg', 'aria-hidden': 'true'});
  return series => {
    root.replaceChildren();
    const range = valueRange(series);
    if (!range) { draw('text', root, {x: left, y: H / 2, class: 'dg-tick'}, 'none yet: the first step draws them'); return; }
    const right = Math.min(W / 2, Math.max(128, 30 + 6.5 * (Math.max(...series.map(s => s.name.length)) + 7)));   // the longest name, a space, a number; half is left to the lines
    const xs = series.flatMap(s => [s.xs[0], s.xs[s.xs.length - 1]]).filter(Number.isFinite);
    const x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1), scale = range.log ? Math.log : v => v;
    const px = x => left + (x - x0) / (x1 - x0) * (W - left - right);
    const py = y => H - bottom - (scale(y) - scale(range.low)) / (scale(range.high) - scale(range.low)) * (H - top - bottom);
    const middle = range.log ? Math.sqrt(range.low * range.high) : (range.low + range.high) / 2;
    for (const y of [range.low, middle, range.high]) {
      draw('line', root, {x1: left, x2: W - right, y1: py(y), y2: py(y), class: 'dg-grid'});
      draw('text', root, {x: left - 6, y: py(y) + 3.5, 'text-anchor': 'end', class: 'dg-tick'}, shortNumber(y));
    }
    draw('text', root, {x: left, y: H - 6, class: 'dg-tick'}, `step ${x0}`);
    draw('text', root, {x: W - right, y: H - 6, 'text-anchor': 'end', class: 'dg-tick'}, `${x1}${range.log ? ', log scale' : ''}`);
    const labels = series.map((s, i) => {
      let path = '', pen = 'M', last = NaN;
      s.ys.forEach((y, k) => {
        if (!Number.isFinite(y)) { pen = 'M'; return; }
        path += `${pen}${px(s.xs[k]).toFixed(1)} ${py(y).toFixed(1)}`;
        pen = 'L';
        last = y;
      });
      if (pen === 'L' && s.ys.length === 1) draw('circle', root, {cx: px(s.xs[0]), cy: py(s.ys[0]), r: 2.5, class: `dg-line dg-c${i % 6}`});
      draw('path', root, {d: path || 'M0 0', 'stroke-linecap': 'round', class: `dg-line dg-c${i % 6}`, 'stroke-dasharray': DASHES[i % 6]});
      return {i, name: s.name, value: s.ys[s.ys.length - 1], y: Number.isFinite(last) ? py(last) : H - bottom};
    });
    spread(labels, 13, H - bottom);
    for (const {i, name, value, y} of labels) {
      draw('line', root, {x1: W - right + 5, x2: W - right + 23, y1: y, y2: y, class: `dg-line dg-c${i % 6}`, 'stroke-dasharray': DASHES[i % 6]});
      draw('text', root, {x: W - right + 27, y: y + 3.5, class: 'dg-label'}, `${name} ${shortNumber(value)}`);
    }
  };
}

function copyBytes(view) {
  if (!view || !view.byteLength) return new Uint8Array(0);
  return new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// The numbers of a message, given back their names. Weights: plan = [[edge, [op]]].
function unpackEdges(plan, bytes) {
  if (bytes.length !== 4 * plan.reduce((n, [, ops]) => n + ops.length, 0)) return [];
  const numbers = new Float32Array(bytes.buffer);
  let at = 0;
  return plan.map(([name, ops]) => ({name, ops, values: numbers.subarray(at, at += ops.length)}));
}

// Curves: plan = [[name, n]], bytes = x and y of one after the other.
function unpackCurves(plan, bytes) {
  if (bytes.length !== 8 * plan.reduce((n, [, size]) => n + size, 0)) return [];
  const numbers = new Float32Array(bytes.buffer);
  let at = 0;
  const take = n => numbers.subarray(at, at += n);
  return plan.map(([name, size]) => ({name, xs: take(size), ys: take(size)}));
}

// One edge in words, for a screen reader.
function leader({name, ops, values}) {
  const best = winner(values);
  return best < 0 ? `${name}: no number` : `${name}: ${ops[best]} ${values[best].toFixed(2)}`;
}

// An element that takes the focus keeps JupyterLab's keys from it: d d would delete the cell.
function own(element) {
  element.dataset.lmSuppressShortcuts = 'true';
  return element;
}

function figure(parent, className, title) {
  const node = make('figure', parent, `dg-figure ${className}`);
  make('figcaption', node, '', title);
  const body = own(make('div', node, 'dg-body'));
  body.setAttribute('role', 'img');
  body.tabIndex = 0;
  return {node, body};
}

// Tells whether any of some values is another one than when it was last asked for: what is as it was needs no drawing.
function newsOf(model) {
  const seen = new Map();
  return (...names) => names.filter(name => {
    const known = seen.has(name) && seen.get(name) === model.get(name);
    seen.set(name, model.get(name));
    return !known;
  }).length > 0;
}

// Draws now and after every change of the model, once a frame however many messages came; gives back how to stop.
function follow(model, paint) {
  let due = 0;
  const now = () => { due = 0; paint(); };
  const later = () => { if (!due) due = requestAnimationFrame(now); };
  model.on('change', later);
  paint();
  return () => { model.off('change', later); cancelAnimationFrame(due); };
}
