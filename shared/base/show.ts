/** A value's kind, for an error message that must not say what it is. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (ArrayBuffer.isView(value)) return 'bytes'
  return Array.isArray(value) ? 'an array' : typeof value
}

/** A value short enough for an error message. Arrays are shown one level deep: hostile ones nest without end. */
export function show(value: unknown): string {
  const text = Array.isArray(value)
    ? `[${value.slice(0, 20).map((item) => typeof item === 'object' ? kindOf(item) : show(item))}]`
    : typeof value === 'string'
    ? JSON.stringify(value.slice(0, 80))
    : typeof value === 'object'
    ? kindOf(value)
    : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

/** What is wrong with a text that may be secret: the first character that `allowed` does not match, and where it stands. */
export function showForeign(text: string, allowed: RegExp): string {
  const at = Array.from(text).findIndex((character) => !allowed.test(character))
  if (at < 0) return `${text.length} characters`
  const code = Array.from(text)[at]?.codePointAt(0) ?? 0
  return `U+${code.toString(16).toUpperCase().padStart(4, '0')} at ${at}`
}
