// lost.js stands in front of this file: together they are one module.
// Be the search: choose an operation on each edge, and see what the table of the game says of the network.

const SVG = 'http://www.w3.org/2000/svg';

function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// What the table says of a network: a weighted sum over the networks it has seen, of how alike they are.
export function predicted(game, kept) {
  const codes = game.edges.map(edge => edge.ops.indexOf(kept[edge.name]) + 1);
  let sum = game.mean;
  game.seen.forEach((seen, i) => {
    let product = 0, linear = 0;
    for (let e = 0; e < codes.length; e++) {
      if (seen[e] === codes[e]) linear += game.linear[e];
      else product -= game.product[e];
    }
    sum += game.factors[i]*Math.exp(product) + game.summands[i]*linear;
  });
  return Math.exp(sum);
}

// Share of all networks that are better, read between two quantiles.
export function better(game, loss) {
  const {levels, losses} = game, i = losses.findIndex(l => l >= loss);
  if (i < 0) return 1;
  if (i === 0) return loss < losses[0] ? 0 : levels[0];
  const share = losses[i] > losses[i - 1] ? (loss - losses[i - 1])/(losses[i] - losses[i - 1]) : 0;
  return levels[i - 1] + share*(levels[i] - levels[i - 1]);
}

// A node keeps a direct operation, and at most one residual one beside it.
export function changed(game, kept, name, op) {
  const now = {...kept}, edge = game.edges.find(e => e.name === name);
  if (op) now[name] = op; else delete now[name];
  if (op && !edge.direct) for (const e of game.edges) if (e.dst === edge.dst && !e.direct && e.name !== name) delete now[e.name];
  return now;
}

function graph(game, kept, cycle) {
  const step = 110, at = node => 40 + step*game.nodes.indexOf(node), base = 118;
  const svg = draw('svg', {viewBox: `0 0 ${80 + step*(game.nodes.length - 1)} 150`, role: 'img', 'aria-label': 'the network; the menus below change it'});
  for (const edge of game.edges) {
    const a = at(edge.src), b = at(edge.dst), op = kept[edge.name], up = edge.direct ? 0 : 26 + 18*(b - a)/step;
    const group = draw('g', {class: op ? 'dg-kept' : 'dg-free', style: 'cursor:pointer'});
    const line = {d: `M${a} ${base} Q${(a + b)/2} ${base - 2*up} ${b} ${base}`, fill: 'none'};
    group.append(draw('path', {...line, stroke: op ? '#0072b2' : '#a9b4c0', 'stroke-width': op ? 2 : 1, 'stroke-dasharray': op ? 'none' : '3 3'}));
    group.append(draw('path', {...line, stroke: 'transparent', 'stroke-width': 14}));
    group.append(draw('text', {x: (a + b)/2, y: base - up - 5, 'text-anchor': 'middle', 'font-size': 10, fill: op ? '#1f2328' : '#57606a'}, op || '+'));
    group.addEventListener('click', () => cycle(edge));
    svg.append(group);
  }
  game.nodes.forEach((node, i) => {
    svg.append(draw('circle', {cx: at(node), cy: base, r: 13, fill: '#ffffff', stroke: '#1f2328'}));
    svg.append(draw('text', {x: at(node), y: base + 4, 'text-anchor': 'middle', 'font-size': 11, fill: '#1f2328'}, node));
    svg.append(draw('text', {x: at(node), y: base + 28, 'text-anchor': 'middle', 'font-size': 9, fill: '#57606a'}, `${game.sides[i]} x ${game.sides[i]}`));
  });
  return svg;
}

function menus(game, change) {
  const row = document.createElement('div'), menu = {};
  row.style.cssText = 'display:flex;flex-wrap:wrap;gap:4px 12px;margin:6px 0';
  for (const edge of game.edges) {
    const label = document.createElement('label'), select = document.createElement('select');
    for (const op of edge.direct ? edge.ops : ['', ...edge.ops]) select.append(new Option(op || 'nothing', op));
    select.addEventListener('change', () => change(edge.name, select.value));
    label.append(`${edge.name} `, select);
    row.append(label);
    menu[edge.name] = select;
  }
  return {row, menu};
}

function render({model, el}) {
  const game = model.get('game'), seen = new Set(), picture = document.createElement('div'), says = document.createElement('p');
  let best = Infinity, lost = false;
  says.setAttribute('role', 'status');
  says.className = 'dg-sentence';
  const change = (name, op) => {
    model.set('kept', changed(game, model.get('kept'), name, op));
    model.save_changes();
  };
  const {row, menu} = menus(game, change);
  const cycle = edge => {
    const ways = edge.direct ? edge.ops : ['', ...edge.ops];
    change(edge.name, ways[(ways.indexOf(model.get('kept')[edge.name] || '') + 1) % ways.length]);
  };
  const show = () => {
    const kept = model.get('kept'), loss = predicted(game, kept);
    seen.add(JSON.stringify(game.edges.map(e => kept[e.name] || '')));
    best = Math.min(best, loss);
    picture.replaceChildren(graph(game, kept, cycle));
    for (const [name, select] of Object.entries(menu)) select.value = kept[name] || '';
    const chance = game.chance[Math.min(seen.size, game.chance.length) - 1];
    says.textContent = `Predicted loss ${loss.toFixed(4)}, better than ${(100*(1 - better(game, loss))).toPrecision(5)} % of all networks. `
      + `Your best of ${seen.size}: ${best.toFixed(4)}; chance has ${chance.toFixed(4)} on average after as many.` + (lost ? ` ${LOST}` : '');
  };
  el.classList.add('dg-explorer');
  el.append(picture, row, says);
  model.on('change:kept', show);
  const unheard = whenLost(model, () => { lost = true; show(); });
  show();
  return () => { model.off('change:kept', show); unheard(); };
}

export default { render };
