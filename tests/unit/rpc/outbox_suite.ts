import { assert } from 'chai'
import { FakeClock } from '../../../shared/base/clock.ts'
import { Outbox } from '../../../shared/rpc/outbox.ts'
import { encodeFrame, type Frame, FRAME_TYPES, FrameReader } from '../../../shared/wire/frame.ts'
import type { Suite } from '../../suite.ts'

/** Messages of this size are fragments here. */
const FRAGMENT_BYTES = 100_000

/** A socket that takes what it is told to. */
class Bench {
  readonly clock = new FakeClock()
  readonly reader = new FrameReader()
  /** What came whole at the other side, as `type id`. */
  readonly came: string[] = []
  gone: unknown
  bufferedBytes = 0
  fails = false
  readonly outbox = new Outbox({
    clock: this.clock,
    bufferedBytes: () => this.bufferedBytes,
    onGone: (thrown) => this.gone = thrown,
    write: (message) => {
      if (this.fails) throw new Error('closed')
      this.bufferedBytes += message.byteLength
      if (message[2] === FRAME_TYPES.cancel) return this.reader.abandon('request', message[4] ?? 0)
      const frame = this.reader.read(message)
      if (frame) this.came.push(`${frame.type} ${frame.id}${frame.parts.length > 0 ? ' long' : ''}`)
    },
  })

  send(type: Frame['type'], id: number, bodyBytes = 0): void {
    const parts = bodyBytes > 0 ? [new Uint8Array(bodyBytes)] : []
    this.outbox.send(encodeFrame({ type, id, header: { a: 1 }, parts }, FRAGMENT_BYTES))
  }

  /** The system takes all that the socket holds. */
  async take(): Promise<void> {
    this.bufferedBytes = 0
    await this.clock.advance(1)
  }

  async takeAll(): Promise<void> {
    while (this.clock.pending > 0) await this.take()
    assert.equal(this.reader.heldBytes, 0)
  }
}

export const outboxSuite: Suite = {
  name: 'outbox',
  cases: {
    'what fits one message is written at once': () => {
      const bench = new Bench()
      for (let id = 1; id < 5; id++) bench.send('request', id, 50_000)
      assert.deepEqual(bench.came, ['request 1 long', 'request 2 long', 'request 3 long', 'request 4 long'])
      assert.equal(bench.clock.pending, 0)
    },

    'short frames overtake a long one, of which the socket holds little': async () => {
      const bench = new Bench()
      bench.send('response', 1, 5_000_000)
      assert.isBelow(bench.bufferedBytes, 400_000)
      for (let id = 2; id < 100; id++) {
        bench.send('response', id)
        await bench.take()
        assert.isBelow(bench.bufferedBytes, 400_000)
        assert.include(bench.came, `response ${id}`)
      }
      await bench.takeAll()
      assert.equal(bench.came.length, 99)
      assert.isAbove(bench.came.indexOf('response 1 long'), 10)
    },

    'long frames come one after the other': async () => {
      const bench = new Bench()
      for (const id of [3, 1, 2]) bench.send('response', id, 1_000_000)
      await bench.takeAll()
      assert.deepEqual(bench.came, ['response 3 long', 'response 1 long', 'response 2 long'])
    },

    'what belongs to a call stays behind its long frame': async () => {
      const bench = new Bench()
      bench.send('chunk', 1, 1_000_000)
      bench.send('chunk', 1)
      bench.send('end', 1)
      bench.send('end', 2)
      // The other side's call of the same number is another call.
      bench.send('credit', 1)
      await bench.takeAll()
      assert.deepEqual(bench.came, ['end 2', 'credit 1', 'chunk 1 long', 'chunk 1', 'end 1'])
    },

    'a cancelled request is not written to its end, and an answer is': async () => {
      const bench = new Bench()
      bench.send('request', 1, 1_000_000)
      bench.send('request', 2, 1_000_000)
      bench.send('request', 3, 1_000_000)
      bench.send('cancel', 1)
      bench.send('cancel', 2)
      await bench.takeAll()
      assert.deepEqual(bench.came, ['request 3 long'])
      bench.send('response', 1, 1_000_000)
      bench.send('cancel', 1)
      await bench.takeAll()
      assert.include(bench.came, 'response 1 long')
    },

    'flushing writes the rest at once, clearing forgets it': async () => {
      for (const [method, came] of [['flush', 3], ['clear', 1]] as const) {
        const bench = new Bench()
        bench.send('response', 1, 1_000_000)
        bench.send('response', 2, 1_000_000)
        bench.send('response', 3)
        bench.outbox[method]()
        assert.equal(bench.came.length, came)
        assert.equal(bench.clock.pending, 0)
        await bench.takeAll().catch(() => {})
      }
    },

    'a socket that fails meanwhile is told of': async () => {
      const bench = new Bench()
      bench.send('response', 1, 1_000_000)
      bench.fails = true
      await bench.take()
      assert.instanceOf(bench.gone, Error)
      assert.equal(bench.clock.pending, 0)
    },
  },
}
