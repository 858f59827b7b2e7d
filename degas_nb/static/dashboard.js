// Dashboard: buttons, the network that pruning would give, bars, weights over time, pictures and losses.
// panels.js and lost.js stand in front of this file: together they are one module.

const HIGH = [0, 114, 178], LOW = [213, 94, 0], UNKNOWN = [136, 136, 136];

// Weights over time: bytes = one row for each op of each edge, 0..254 with 127 an equal share, 255 no number.
function heatPanel(host) {
  const labels = make('div', host, 'dg-heat-names'), canvas = make('canvas', host, 'dg-heat-map'), best = make('div', host, 'dg-heat-best');
  const axis = make('p', host, 'dg-heat-axis'), first = make('span', axis), last = make('span', axis);
  const context = canvas.getContext('2d');
  return (edges, bytes, plan) => {
    const rows = edges.reduce((n, e) => n + e.ops.length, 0), columns = plan.columns || 0;
    if (!rows || !columns || bytes.length !== rows * columns) return false;
    const height = rows + edges.length - 1, image = context.createImageData(columns, height);
    labels.replaceChildren();
    best.replaceChildren();
    let row = 0, y = 0;
    const at = (parent, text, place) => { make('span', parent, '', text).style.top = `${100 * place / height}%`; };
    for (const {name, ops, values} of edges) {
      const lead = winner(values);
      at(labels, name, y + ops.length / 2);
      if (lead >= 0) at(best, ops[lead], y + lead + .5);
      for (let i = 0; i < ops.length; i++, row++, y++) {
        for (let x = 0; x < columns; x++) {
          const value = bytes[row * columns + x], tone = value === 255 ? UNKNOWN : value > 127 ? HIGH : LOW;
          image.data.set([...tone, value === 255 ? 120 : Math.min(255, 2 * Math.abs(value - 127))], 4 * (y * columns + x));
        }
      }
      y++;
    }
    canvas.width = columns;
    canvas.height = height;
    host.style.setProperty('--dg-rows', height);
    context.putImageData(image, 0, 0);
    first.textContent = `step ${plan.first}`;
    last.textContent = `${plan.last}`;
    return true;
  };
}

// The network as plain lists: nodes = [[x, y, name, text]], edges = [[name, op, points, x, y, colour, kept]].
function networkPanel(host) {
  const root = draw('svg', host, {class: 'dg-net', 'aria-hidden': 'true'});
  const id = `dg-tip-${Math.random().toString(36).slice(2)}`;
  let known = '', before = null;
  return plan => {
    const text = JSON.stringify(plan);
    if (text === known) return;
    known = text;
    root.replaceChildren();
    const {width, height, nodes = [], edges = []} = plan;
    if (!nodes.length) return;
    root.setAttribute('viewBox', `0 0 ${width} ${height}`);
    root.style.maxWidth = `${width}px`;
    const tip = draw('marker', draw('defs', root, {}), {id, viewBox: '0 0 8 8', refX: 6, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: 'userSpaceOnUse', orient: 'auto'});
    draw('path', tip, {d: 'M0 0L8 4L0 8z', class: 'dg-net-tip'});
    for (const [name, op, points, x, y, colour, kept] of edges) {
      const [from, ...to] = points.map(p => p.join(' '));
      const changed = kept && before && before.get(name) !== op;
      const group = draw('g', root, {class: `dg-net-edge${kept ? '' : ' dg-lost'}${changed ? ' dg-flash' : ''}`, 'data-edge': name});
      draw('path', group, {d: `M${from}${to.length > 1 ? 'C' : 'L'}${to.join(' ')}`, class: 'dg-net-line', 'marker-end': `url(#${id})`, ...(kept ? {style: `stroke: ${colour}`} : {})});
      if (!kept) continue;
      const half = 3.3 * op.length + 3;
      draw('rect', group, {x: x - half, y: y - 9, width: 2 * half, height: 18, rx: 3, class: 'dg-net-ground'});
      draw('text', group, {x, y: y + 4, 'text-anchor': 'middle', class: 'dg-net-op'}, op);
    }
    for (const [x, y, name, below] of nodes) {
      draw('rect', root, {x: x - 26, y: y - 17, width: 52, height: 34, rx: 8, class: 'dg-net-node'});
      draw('text', root, {x, y: below ? y - 2 : y + 4, 'text-anchor': 'middle', class: 'dg-net-name'}, name);
      if (below) draw('text', root, {x, y: y + 12, 'text-anchor': 'middle', class: 'dg-net-side'}, below);
    }
    before = new Map(edges.filter(e => e[6]).map(e => [e[0], e[1]]));
  };
}

// Pictures side by side, each with its name: plan = [[name, height, width]], bytes = uint8 rgb of one after the other.
function galleryPanel(host) {
  let known = '', draws = [];
  return (plan, bytes) => {
    const text = JSON.stringify(plan.map(p => p[0]));
    if (text !== known) {
      host.replaceChildren();
      draws = plan.map(([name]) => { const box = make('figure', host, 'dg-tile'); make('figcaption', box, '', name); return picturePanel(box); });
      known = text;
    }
    if (bytes.length !== plan.reduce((n, [, h, w]) => n + 3 * h * w, 0)) return false;
    let at = 0;
    plan.forEach(([, h, w], i) => draws[i](bytes.subarray(at, at += 3 * h * w), h, w));
    return plan.length > 0;
  };
}

function clock(seconds) {
  const s = Math.round(seconds), pad = n => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 60)}:${pad(s % 60)}`;
}

function progress(step, total, state, rate, left) {
  if (step < 0) return 'no step yet';
  const parts = [total > 0 ? `step ${step} of ${total}` : `step ${step}`];
  if (state === 'running' && rate > 0) parts.push(`${shortNumber(rate)} steps a second`);
  if (state === 'running' && left >= 0) parts.push(`${clock(left)} left`);
  return parts.join(', ');
}

let held = '';   // the button that has the focus: a view that is drawn anew in its place takes it over

// A row of buttons that only ask: what they ask for is done between two steps. `heard` tells that the kernel listens.
function buttonRow(host, words, model, on) {
  const note = text => { silent.textContent = text; };
  let wait = 0, heard = 0;
  const row = make('div', host, 'dg-buttons');
  row.setAttribute('role', 'toolbar');
  row.setAttribute('aria-label', 'The run');
  let buttons = [], known = '';
  function build(labels) {
    row.replaceChildren();
    buttons = Object.entries(labels).map(([action, text]) => {
      const button = own(make('button', row, 'dg-button', text));
      button.type = 'button';
      button.dataset.action = action;
      button.addEventListener('click', () => {
        if (button.getAttribute('aria-disabled') === 'true') return;
        heard = model.get('heard');
        model.send({action});
        clearTimeout(wait);
        wait = setTimeout(() => {
          if (model.get('heard') === heard) note('The kernel is busy with a cell and has not heard this button: wait for the cell, or interrupt it.');
          else note(`${text}: as soon as the step in flight is done.`);
        }, 1500);
      });
      return button;
    });
  }
  row.addEventListener('focusin', event => { held = event.target.dataset.action; });
  row.addEventListener('focusout', event => { if (event.relatedTarget) held = ''; });
  function takeOver() {
    const at = document.activeElement, button = buttons.find(b => b.dataset.action === held);
    if (button && (at === document.body || at.contains(row))) button.focus();
  }
  row.addEventListener('keydown', event => {
    const by = {ArrowRight: 1, ArrowLeft: -1}[event.key], at = buttons.indexOf(document.activeElement);
    if (!by || at < 0) return;
    buttons[(at + by + buttons.length) % buttons.length].focus();
    event.preventDefault();
  });
  const silent = make('p', words, 'dg-silent');
  silent.setAttribute('role', 'status');
  on('change:heard', () => note(''));
  for (const done of ['change:step', 'change:state', 'change:says']) on(done, () => { if (model.get('heard') !== heard) { clearTimeout(wait); note(''); } });
  return (labels, possible) => {
    const text = JSON.stringify(labels);
    if (text !== known) { build(labels); known = text; requestAnimationFrame(takeOver); }
    for (const button of buttons) button.setAttribute('aria-disabled', String(!possible.includes(button.dataset.action)));
  };
}

const GONE = 'The kernel of this run was restarted or shut down, and the run with it: this is the last that was heard. Run the cell again for a new one; if it had a folder, its checkpoint is there to go on from.';

function render({model, el}) {
  const root = make('div', el, 'dg-view dg-dashboard');
  const top = make('div', root, 'dg-top');
  const state = make('span', top, 'dg-state'), head = make('span', top, 'dg-head'), bar = make('progress', top, 'dg-progress');
  state.setAttribute('role', 'status');
  bar.setAttribute('aria-label', 'steps done');
  const heardBy = [];                                       // a view that is drawn anew leaves nothing behind that listens
  const on = (name, then) => { model.on(name, then); heardBy.push([name, then]); };
  const words = make('div', root, 'dg-words');            // its room is kept: what is below stays where it is
  const setButtons = buttonRow(top, words, model, on), says = make('p', words, 'dg-says');
  const near = make('div', root, 'dg-parts dg-near');     // what every step moves stands next to the buttons
  const losses = figure(near, 'dg-curves', 'losses'), gallery = figure(near, 'dg-gallery', 'pictures');
  const network = figure(root, 'dg-network', '');
  const changes = make('p', network.node, 'dg-changes');
  const parts = make('div', root, 'dg-parts');
  const bars = figure(parts, 'dg-bars', 'mixing weights: the mark is an equal share');
  const heat = figure(parts, 'dg-heat', '');
  const drawBars = barPanel(bars.body), drawHeat = heatPanel(heat.body), drawNetwork = networkPanel(network.body);
  const drawGallery = galleryPanel(gallery.body), drawCurves = curvePanel(losses.body);
  const label = (panel, text) => panel.body.setAttribute('aria-label', text);
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const news = newsOf(model);
  let frames = 0, gone = false, edges = [];

  function paintParts(get, step) {
    if (news('plan', 'numbers')) {
      const plan = get('plan') || {};
      edges = unpackEdges(plan.edges || [], copyBytes(get('numbers')));
      drawBars(edges, plan.limit || 1);
      bars.node.hidden = !edges.length;
      label(bars, `Mixing weights at step ${step}. ${edges.map(leader).join(', ')}`);
    }
    if (news('network')) {
      const net = get('network') || {};
      drawNetwork(net);
      network.node.hidden = !(net.nodes || []).length && !net.undecided;
      set(network.node.firstChild, net.title || '');
      set(changes, net.undecided || net.change || '');
      label(network, net.words || 'nothing decided');
    }
    if (news('heat', 'heat_plan')) {
      const over = get('heat_plan') || {};
      heat.node.hidden = !drawHeat(edges, copyBytes(get('heat')), over);
      set(heat.node.firstChild, `weights over steps: blue above an equal share, orange below; full colour at ${over.limit} times and 1/${over.limit}`);
      label(heat, `Weights from step ${over.first} to ${over.last}. Now: ${edges.map(leader).join(', ')}`);
    }
    if (news('gallery', 'pixels')) {
      const tiles = get('gallery') || [];
      gallery.node.hidden = !drawGallery(tiles, copyBytes(get('pixels')));
      label(gallery, `Pictures at step ${step}: ${tiles.map(t => t[0]).join(', ')}`);
    }
    if (news('curve_plan', 'curves')) {
      const series = unpackCurves(get('curve_plan') || [], copyBytes(get('curves')));
      drawCurves(series);
      label(losses, !series.length ? 'No losses yet' : 'Losses: ' + series.map(s => `${s.name} ${shortNumber(s.ys[s.ys.length - 1])}`).join(', '));
    }
  }

  function paint() {
    const get = name => model.get(name), step = get('step'), total = get('total'), now = gone ? 'gone' : get('state');
    paintParts(get, step);
    set(state, now);
    set(head, progress(step, total, now, get('rate'), get('left')));
    set(says, gone ? GONE : get('says'));
    says.setAttribute('role', gone || now === 'failed' ? 'alert' : 'status');
    bar.hidden = !(total > 0);
    bar.max = Math.max(1, total);
    bar.value = Math.max(0, step);
    setButtons(get('buttons') || {}, gone ? [] : get('actions') || []);
    root.dataset.step = step;
    root.dataset.state = now;
    root.dataset.frames = ++frames;
  }

  const unheard = whenLost(model, () => { gone = true; paint(); });
  const stop = follow(model, paint);
  return () => {
    stop();
    unheard();
    for (const [name, then] of heardBy) model.off(name, then);
  };
}

export default { render };
