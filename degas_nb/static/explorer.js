// lost.js stands in front of this file: together they are one module.
// The sentence of an explorer. A screen reader hears it, and by the way the sliders beside it get the names that they are shown with.

function tell(node, name, text) {
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

function nameSliders(controls) {
  for (const handle of controls.querySelectorAll('.noUi-handle')) {
    const slider = handle.closest('.widget-slider'), readout = slider.querySelector('.widget-readout');
    const name = slider.querySelector('.widget-label').textContent;
    tell(handle, 'aria-label', name);
    tell(handle, 'aria-valuetext', readout.textContent);
    if (!readout.isContentEditable) continue;
    tell(readout, 'role', 'textbox');
    tell(readout, 'aria-label', `${name}, to type`);
  }
}

// Call `then(root)` as soon as `el` stands in an explorer; gives back how to stop waiting.
function whenPlaced(el, then) {
  let frame = 0;
  const look = () => {
    const root = el.closest('.dg-explorer');
    if (root) then(root);
    else frame = requestAnimationFrame(look);
  };
  look();
  return () => cancelAnimationFrame(frame);
}

function render({model, el}) {
  const sentence = document.createElement('p');
  sentence.className = 'dg-sentence';
  sentence.setAttribute('role', 'status');
  sentence.setAttribute('aria-live', 'polite');
  el.append(sentence);
  let lost = false;
  const say = () => {
    sentence.textContent = lost ? LOST : model.get('value');
    sentence.classList.toggle('dg-wrong', lost || model.get('wrong'));
  };
  say();
  model.on('change:value change:wrong', say);
  const unheard = whenLost(model, () => { lost = true; say(); });

  // plotly asks for its room before it has any, and later it listens to the window only: a side bar narrows the page without it
  const refit = () => window.dispatchEvent(new Event('resize'));
  let width = 0, root = null, named = null;
  const sized = new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now && now !== width) refit();
    width = now || width;
  });
  const drawn = event => { if (root?.contains(event.detail.element)) refit(); };
  document.addEventListener('plotlywidget-after-render', drawn);
  const stop = whenPlaced(el, found => {
    root = found;
    const controls = root.querySelector('.dg-controls');
    named = new MutationObserver(() => nameSliders(controls));
    named.observe(controls, {subtree: true, childList: true, characterData: true, attributeFilter: ['aria-valuetext']});
    nameSliders(controls);
    sized.observe(root);
  });
  return () => {
    stop();
    named?.disconnect();
    sized.disconnect();
    document.removeEventListener('plotlywidget-after-render', drawn);
    model.off('change:value change:wrong', say);
    unheard();
  };
}

export default { render };
