import { expect, it } from 'vitest'
import { Mutex } from '../../../shared/engine/mutex.ts'

it('runs tasks one at a time in order, whether they fail or not', async () => {
  const mutex = new Mutex()
  const events: string[] = []
  const task = (name: string, fails: boolean) => async () => {
    events.push(`${name} starts`)
    await new Promise((resolve) => setTimeout(resolve))
    events.push(`${name} ends`)
    if (fails) throw new Error(name)
    return name
  }
  const outcomes = await Promise.allSettled([
    mutex.run(task('a', false)),
    mutex.run(task('b', true)),
    mutex.run(() => {
      throw new Error('at once')
    }),
    mutex.run(task('c', false)),
  ])
  expect(events).toEqual(['a starts', 'a ends', 'b starts', 'b ends', 'c starts', 'c ends'])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
})
