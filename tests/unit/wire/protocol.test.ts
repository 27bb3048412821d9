import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../../shared/base/bytes.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { CLOSE_CODES } from '../../../shared/rpc/close_code.ts'
import { decode } from '../../../shared/wire/codec.ts'
import { DTYPE_LIST } from '../../../shared/wire/dtype.ts'
import { type ErrorCode, isErrorCode, RpcError } from '../../../shared/wire/errors.ts'
import { FRAME_TYPES } from '../../../shared/wire/frame.ts'
import { Tensor } from '../../../shared/wire/tensor.ts'
import { compact, FRAMES, MESSAGES } from './golden.ts'

const text = readFileSync(new URL('../../../shared/wire/PROTOCOL.md', import.meta.url), 'utf8')

/** From a heading to the next of any level. */
function section(heading: string): string {
  const [, after = ''] = text.split(`\n${heading}\n`)
  return after.split(/\n##+ /, 1)[0] ?? ''
}

/** Where the notes beside the bytes of an example begin. */
const NOTES_AT = 44

describe('PROTOCOL.md', () => {
  it('shows the bytes of golden vectors', () => {
    const examples = [...text.matchAll(/<!-- golden (message|frame): (.+) -->\n```\n([^`]+)```/g)]
    expect(examples).toHaveLength(3)
    for (const [, kind, name, block = ''] of examples) {
      const shown = block.split('\n').map((line) => line.slice(0, NOTES_AT)).join('')
      const hex = kind === 'message'
        ? MESSAGES.find((vector) => vector.name === name)?.hex
        : FRAMES.find((vector) => vector.name === name)?.hex[0]
      expect(compact(shown), name).toBe(compact(hex ?? ''))
    }
  })

  it('says where the data of its tensors stand', () => {
    const example = MESSAGES.find(({ name }) => name === 'tensors among values')
    const bytes = Uint8Array.from(compact(example?.hex ?? '').match(/../g) ?? [], (digits) => parseInt(digits, 16))
    const { x, ys: [y] } = decode(bytes) as { x: Tensor; ys: [Tensor] }
    expect(text).toContain(`8 bytes, at byte ${x.bytes.byteOffset}`)
    expect(text).toContain(`3 bytes, at byte ${y.bytes.byteOffset}`)
    expect(toHex(y.bytes)).toBe('010203')
  })

  it('lists every frame type with its number', () => {
    const listed = [...text.matchAll(/^\| (\d+) \| (\w+) \| (a call|0) \| (yes|no) \|/gm)].map((
      [, code, name],
    ) => [name, Number(code)])
    expect(Object.fromEntries(listed)).toEqual(FRAME_TYPES)
  })

  it('gives every code its status', () => {
    const listed = [...section('### Codes').matchAll(/\| `(\w+)` \| (\d{3}) (?=\|)/g)].map(([, code, status]) =>
      [code, Number(status)] as const
    )
    expect(listed).toHaveLength(16)
    for (const [code, status] of listed) {
      expect(isErrorCode(code)).toBe(true)
      expect(new RpcError(code as ErrorCode, '').httpStatus, code).toBe(status)
    }
  })

  it('gives limits their values', () => {
    const listed = [...section('## Limits').matchAll(/^\| `(\w+)` \| (\d+) \| /gm)].map(([, name, value]) =>
      [name ?? '', Number(value)] as const
    )
    expect(listed.length).toBeGreaterThan(15)
    for (const [name, value] of listed) expect(LIMITS[name as keyof typeof LIMITS], name).toBe(value)
    for (const table of ['### request', '## Plain HTTP']) expect(section(table)).toContain(`${DEFAULTS.callTimeoutMs}`)
    // And names no other.
    for (const [, name = ''] of text.matchAll(/`(max\w+|\w+WindowBytes)`/g)) expect(LIMITS, name).toHaveProperty(name)
  })

  it('gives close codes their names, and dtypes theirs', () => {
    const listed = [...text.matchAll(/^\| (1\d{3}) \| (\w+) \|/gm)].map(([, code, name]) => [name, Number(code)])
    expect(Object.fromEntries(listed)).toEqual(CLOSE_CODES)
    for (const dtype of DTYPE_LIST) expect(text).toContain(`\`${dtype}\``)
  })
})
