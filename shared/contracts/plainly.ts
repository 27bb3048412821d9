import type * as z from 'zod'

/** What an entry must be for its map to be let through at a glance. */
type Fits = Readonly<Record<string, (value: unknown) => boolean>>

/**
 * The same schema, which first looks whether a value has exactly the entries of `fits` and each is in order: that is what
 * nearly every call holds, and then there is nothing to fill in, to copy or to explain. Anything else is the schema's to
 * judge. For the few schemas that every call passes through.
 */
export function plainly<S extends z.ZodObject>(schema: S, fits: Fits): S {
  const standard = schema['~standard']
  const expected = Object.entries(fits)
  const isPlain = (value: unknown): boolean => {
    if (typeof value !== 'object' || value === null) return false
    let unexpected = -expected.length
    for (const _ in value) unexpected++
    if (unexpected !== 0) return false
    for (const [name, fit] of expected) if (!fit((value as Record<string, unknown>)[name])) return false
    return true
  }
  const validate: typeof standard.validate = (value) =>
    isPlain(value) ? { value: value as never } : standard.validate(value)
  return Object.create(schema, { '~standard': { value: { ...standard, validate } } })
}
