import type { StandardJSONSchemaV1 } from '@standard-schema/spec'
import type { Schema } from './contract.ts'

export type JsonSchema = Readonly<Record<string, unknown>>

/**
 * A validator as JSON Schema (2020-12), of what goes in or of what comes out, which differ where it has defaults.
 * The rule: a validator that speaks Standard JSON Schema (zod, ArkType, Valibot's wrapper) describes itself; what it says
 * JSON Schema has no words for may be anything. One that does not speak it may be anything altogether, and says so.
 * @param pointer where the schema will stand in its document, such as `#/components/schemas/A`: references within it are
 *   made to point there
 */
export function jsonSchemaOf(schema: Schema, io: 'input' | 'output', pointer: string): JsonSchema {
  const standard: Partial<StandardJSONSchemaV1.Props> = schema['~standard']
  if (!standard.jsonSchema) {
    return {
      description: `Checked by its validator (${standard.vendor}), which does not describe itself as JSON Schema.`,
    }
  }
  // Zod would throw at the first type that JSON Schema lacks, and the rest of the contract with it.
  const options = { target: 'draft-2020-12', libraryOptions: { unrepresentable: 'any' } } as const
  const { $schema: _, ...described } = standard.jsonSchema[io](options)
  return relocate(described, pointer) as JsonSchema
}

/** Makes references from the root of a schema (`#`, `#/$defs/…`) start at `pointer`. */
function relocate(node: unknown, pointer: string): unknown {
  if (Array.isArray(node)) return node.map((entry) => relocate(entry, pointer))
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => {
      const isLocal = key === '$ref' && typeof value === 'string' && value.startsWith('#')
      return [key, isLocal ? pointer + value.slice(1) : relocate(value, pointer)]
    }),
  )
}
