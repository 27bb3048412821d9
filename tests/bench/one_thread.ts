/**
 * Imported before jax-js. It looks for threads when it is loaded and again later, and fails where ONNX Runtime has
 * brought them in between: so there are none, as for all that it is measured beside.
 */
Object.defineProperty(globalThis, 'Worker', {
  get: () => undefined,
  set() {},
  configurable: true,
})
