import { describe, expect, it } from 'vitest'
import { Tensor } from '../../../shared/wire/tensor.ts'

describe('tensors over Node buffers', () => {
  it('copies a misaligned Buffer, whose own slice would give the same misaligned view', () => {
    const pool = new ArrayBuffer(16)
    const buffer = Buffer.from(pool, 1, 8)
    buffer.writeFloatLE(1.5, 0)
    buffer.writeFloatLE(-2, 4)
    const data = new Tensor('float32', [2], buffer).data
    expect([...data]).toEqual([1.5, -2])
    expect(data.buffer).not.toBe(pool)
  })

  it('views an aligned Buffer in place', () => {
    const pool = new ArrayBuffer(16)
    const data = new Tensor('float32', [2], Buffer.from(pool, 4, 8)).data
    expect(data.buffer).toBe(pool)
    expect(data.byteOffset).toBe(4)
  })
})
