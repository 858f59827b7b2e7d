// lost.js stands in front of this file: together they are one module.
// Play and Pause for a slider: `at` walks from 0 to `last`, a step only when the kernel has drawn the one before.

function render({model, el}) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'dg-play';
  button.dataset.lmSuppressShortcuts = 'true';
  el.append(button);
  const go = at => { model.set('at', at); model.save_changes(); };
  let clock = 0;
  const rest = () => { clearInterval(clock); clock = 0; button.textContent = 'Play'; };
  const walk = () => {
    if (model.get('drawn') !== model.get('at')) return;
    if (model.get('at') < model.get('last')) go(model.get('at') + 1);
    else rest();
  };
  button.addEventListener('click', () => {
    if (clock) return rest();
    if (model.get('at') === model.get('last')) go(0);
    clock = setInterval(walk, model.get('every'));
    button.textContent = 'Pause';
  });
  rest();
  const unheard = whenLost(model, rest);
  return () => { rest(); unheard(); };
}

export default { render };
