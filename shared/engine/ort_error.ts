/** Characters of ONNX Runtime's reason that are passed on: enough for its longest, without a dump of a graph. */
const MAX_REASON = 400

/** `/build/machine/path/file.cc:56 void onnxruntime::Some::Function(int, …) const ` before the reason proper. */
const SOURCE_PLACE = /^\S+:\d+ [^(]*\((?:[^()]|\([^()]*\))*\)(?: const)? /

/** What ONNX Runtime said, in one line, without the place in its source. */
export function reasonOf(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  const [, reason = message] = message.split('ERROR_MESSAGE: ')
  const line = reason.replace(/\s+/g, ' ').trim().replace(SOURCE_PLACE, '')
  return line.length > MAX_REASON ? `${line.slice(0, MAX_REASON - 3)}...` : line || 'no reason given'
}

/** onnxruntime-node tells no codes: what those that blame the inputs say. */
const INPUTS_BLAMED = /out of data bounds|Got invalid dimensions|Invalid rank|Unexpected input data type|Missing Input/

/** ORT_INVALID_ARGUMENT: the runtime blames the inputs (a dimension that does not fit, an index out of range). */
export function wereInputsRefused(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false
  if (thrown.message.includes('ERROR_CODE: ')) return thrown.message.includes('ERROR_CODE: 2,')
  return INPUTS_BLAMED.test(thrown.message)
}

/**
 * True for a failed run that a C++ exception ended. A failure that an operator returned instead was handled on the way
 * and left nothing behind.
 */
export function wasNotUnwound(thrown: unknown): boolean {
  return !reasonOf(thrown).startsWith('Non-zero status code')
}

/**
 * True if the runtime itself failed (a trap, an abort or an overflown stack in its WebAssembly) rather than reporting
 * an error: nothing in that instance can be trusted afterwards.
 */
export function isCrash(thrown: unknown): boolean {
  return thrown instanceof WebAssembly.RuntimeError ||
    (thrown instanceof Error && /call stack|too much recursion/i.test(thrown.message))
}
