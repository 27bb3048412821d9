import { expect, it } from 'vitest'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { PublicBlobs } from '../../../shared/models/public_blobs.ts'

function scene() {
  const clock = new FakeClock()
  const state = { clock, reads: 0, stored: ['a'] }
  const blobs = new PublicBlobs(clock, () => {
    state.reads++
    return Promise.resolve([...state.stored])
  })
  return { ...state, blobs, state }
}

it('a flood of asking for what is not there reads the store once a second', async () => {
  const { blobs, clock, state } = scene()
  for (let second = 1; second <= 3; second++) {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => blobs.has(`none ${i}`)))
    expect(answers).not.toContain(true)
    expect(await blobs.has('none')).toBe(false)
    expect(state.reads).toBe(second)
    await clock.advance(DEFAULTS.missingManifestCacheMs)
  }
})

it('what is there is known for longer, and what comes is soon', async () => {
  const { blobs, clock, state } = scene()
  expect(await blobs.has('a')).toBe(true)
  state.stored = ['b']
  await clock.advance(DEFAULTS.missingManifestCacheMs)
  expect([await blobs.has('a'), state.reads]).toEqual([true, 1])
  expect([await blobs.has('b'), await blobs.has('a'), state.reads]).toEqual([true, false, 2])
})

it('what has changed here is known at once', async () => {
  const { blobs, state } = scene()
  expect(await blobs.has('b')).toBe(false)
  state.stored = ['b']
  blobs.forget()
  expect([await blobs.has('b'), await blobs.has('a')]).toEqual([true, false])
})

it('a store that fails is asked again', async () => {
  let fails = true
  const blobs = new PublicBlobs(
    new FakeClock(),
    () => fails ? Promise.reject(new Error('away')) : Promise.resolve(['a']),
  )
  await expect(blobs.has('a')).rejects.toThrow('away')
  fails = false
  expect(await blobs.has('a')).toBe(true)
})
