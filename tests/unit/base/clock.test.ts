import { describe, expect, it } from 'vitest'
import { FakeClock, sleep, systemClock } from '../../../shared/base/clock.ts'

describe('FakeClock', () => {
  it('stands still until it is told to move', async () => {
    const clock = new FakeClock(500)
    expect(clock.now()).toBe(500)
    await clock.advance(250)
    expect(clock.now()).toBe(750)
  })

  it('runs due timers by time, then by order of setting, each at its own time', async () => {
    const clock = new FakeClock(0)
    const ran: string[] = []
    for (const [name, delayMs] of [['c', 30], ['a', 10], ['b', 20], ['b2', 20], ['late', 31]] as const) {
      clock.after(delayMs, () => ran.push(`${name}@${clock.now()}`))
    }
    await clock.advance(30)
    expect(ran).toEqual(['a@10', 'b@20', 'b2@20', 'c@30'])
    expect(clock.pending).toBe(1)
  })

  it('runs timers that are set by timers within the same advance', async () => {
    const clock = new FakeClock(0)
    const beats: number[] = []
    const beat = () => {
      beats.push(clock.now())
      clock.after(10, beat)
    }
    clock.after(10, beat)
    await clock.advance(35)
    expect(beats).toEqual([10, 20, 30])
  })

  it('lets promises settle between timers', async () => {
    const clock = new FakeClock(0)
    const order: string[] = []
    clock.after(1, () => void Promise.resolve().then(() => order.push('first, settled')))
    clock.after(2, () => order.push('second'))
    await clock.advance(2)
    expect(order).toEqual(['first, settled', 'second'])
  })

  it('cancels, more than once without harm', async () => {
    const clock = new FakeClock()
    let ran = false
    const cancel = clock.after(5, () => ran = true)
    cancel()
    cancel()
    await clock.advance(10)
    expect(ran).toBe(false)
    expect(clock.pending).toBe(0)
  })

  it('treats a negative delay as none', async () => {
    const clock = new FakeClock(100)
    let atMs = 0
    clock.after(-50, () => atMs = clock.now())
    await clock.advance(0)
    expect(atMs).toBe(100)
  })
})

describe('sleep', () => {
  it('resolves once its time has passed, not before', async () => {
    const clock = new FakeClock()
    let awake = false
    const asleep = sleep(clock, 100).then(() => awake = true)
    await clock.advance(99)
    expect(awake).toBe(false)
    await clock.advance(1)
    expect(awake).toBe(true)
    await asleep
  })

  it('rejects with the reason of the abort and leaves no timer behind', async () => {
    const clock = new FakeClock()
    const controller = new AbortController()
    const asleep = sleep(clock, 100, controller.signal)
    const reason = new Error('shutdown')
    controller.abort(reason)
    await expect(asleep).rejects.toBe(reason)
    expect(clock.pending).toBe(0)
  })

  it('rejects at once under a signal that has already aborted', async () => {
    const clock = new FakeClock()
    const reason = new Error('too late')
    await expect(sleep(clock, 100, AbortSignal.abort(reason))).rejects.toBe(reason)
    expect(clock.pending).toBe(0)
  })

  it('takes its listener off the signal', async () => {
    const clock = new FakeClock()
    const { signal } = new AbortController()
    let listeners = 0
    const { addEventListener, removeEventListener } = signal
    signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      listeners++
      addEventListener.apply(signal, args)
    }
    signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners--
      removeEventListener.apply(signal, args)
    }
    const asleep = sleep(clock, 10, signal)
    expect(listeners).toBe(1)
    await clock.advance(10)
    await asleep
    expect(listeners).toBe(0)
  })
})

describe('systemClock', () => {
  it('runs a task later and forgets a cancelled one', async () => {
    let cancelledRan = false
    const startMs = systemClock.now()
    await new Promise<void>((resolve) => {
      systemClock.after(1, () => cancelledRan = true)()
      systemClock.after(5, resolve)
    })
    expect(cancelledRan).toBe(false)
    expect(systemClock.now()).toBeGreaterThan(startMs)
  })
})
