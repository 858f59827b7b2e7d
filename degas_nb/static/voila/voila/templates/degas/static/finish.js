// All cells are there.
window.voila_finish();
