// AlphaView: alpha bars, a picture and loss curves. panels.js stands in front of this file: together they are one module.

function render({model, el}) {
  const root = make('div', el, 'dg-view');
  const head = make('p', root, 'dg-head');
  const parts = make('div', root, 'dg-parts');
  const bars = figure(parts, 'dg-bars', 'mixing weights: the mark is an equal share');
  const side = make('div', parts, 'dg-side');
  const picture = figure(side, 'dg-picture', 'samples');
  const losses = figure(side, 'dg-curves', 'losses');
  const drawBars = barPanel(bars.body), drawPicture = picturePanel(picture.body), drawCurves = curvePanel(losses.body);
  let frames = 0;

  function paint() {
    const plan = model.get('plan') || {}, step = model.get('step'), [height, width] = model.get('size') || [0, 0];
    const edges = unpackEdges(plan.edges || [], copyBytes(model.get('numbers'))), series = unpackCurves(model.get('curve_plan') || [], copyBytes(model.get('curves')));
    drawBars(edges, plan.limit || 1);
    drawCurves(series);
    const seen = drawPicture(copyBytes(model.get('pixels')), height, width);
    bars.node.hidden = !edges.length;
    losses.node.hidden = !series.length;
    picture.node.hidden = !seen;
    side.hidden = !seen && !series.length;
    head.textContent = step < 0 ? 'waiting for the first push' : `step ${step}`;
    bars.body.setAttribute('aria-label', `Mixing weights at step ${step}. ${edges.map(leader).join(', ')}`);
    picture.body.setAttribute('aria-label', `Picture of ${width} by ${height} pixels at step ${step}`);
    losses.body.setAttribute('aria-label', 'Losses: ' + series.map(s => `${s.name} ${shortNumber(s.ys[s.ys.length - 1])}`).join(', '));
    root.dataset.step = step;
    root.dataset.frames = ++frames;
  }

  return follow(model, paint);
}

export default { render };
