// A plotly figure with frames gets the page's own play button and slider: keys and screen readers know those, and not plotly's.
// `moments` = [[name of a frame, what it says]].
function withControls(graph, moments) {
  const add = (tag, parent, values = {}) => parent.appendChild(Object.assign(document.createElement(tag), values));
  const bar = document.createElement('div');
  bar.className = 'replay-controls';
  graph.after(bar);
  const button = add('button', bar, {type: 'button', textContent: 'Play'});
  const label = add('label', bar, {textContent: 'step '});
  const slider = add('input', label, {type: 'range', min: 0, max: moments.length - 1, value: 0});
  const number = add('output', bar), says = add('p', bar, {className: 'visually-hidden'});
  says.setAttribute('aria-live', 'polite');
  let clock = null;

  function show(i) {
    const [name, sentence] = moments[i];
    slider.value = i;
    slider.setAttribute('aria-valuetext', `step ${name}`);
    number.textContent = name;
    if (clock === null) says.textContent = sentence;
    Plotly.animate(graph, [name], {mode: 'immediate', frame: {duration: 0, redraw: true}, transition: {duration: 0}});
  }

  function rest() {
    clearInterval(clock);
    clock = null;
    button.textContent = 'Play';
  }

  function play() {
    if (Number(slider.value) === moments.length - 1) show(0);
    button.textContent = 'Pause';
    clock = setInterval(() => {
      if (Number(slider.value) < moments.length - 1) show(Number(slider.value) + 1);
      else { rest(); show(moments.length - 1); }
    }, 150);
  }

  button.addEventListener('click', () => { if (clock === null) play(); else { rest(); show(Number(slider.value)); } });
  slider.addEventListener('input', () => { rest(); show(Number(slider.value)); });
  show(0);
}
