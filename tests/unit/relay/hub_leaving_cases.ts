import { assert } from 'chai'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import type { Suite } from '../../suite.ts'
import { settle } from '../virtual_time.ts'
import { onHub, outcome } from './worker_end.ts'

const { helloTimeoutMs, pingIntervalMs } = DEFAULTS

/** Workers that leave, vanish or come again, and a relay that sleeps or closes. */
export const leavingCases: Suite['cases'] = {
  'what comes after the end is ignored': onHub(async (bench) => {
    const end = await bench.join()
    const closed = () => bench.logged.length
    end.vanish()
    const before = closed()
    end.session?.receive(new Uint8Array(3))
    end.session?.receive('ping')
    end.session?.end('again')
    end.session?.close(1000, 'again')
    await settle()
    assert.equal(closed(), before)
    assert.isFalse(end.isClosed)
    assert.deepEqual(end.texts, [])
  }),

  'a goodbye lets calls in flight finish, sends nothing more, then closes': onHub(async (bench) => {
    const [leaving, staying] = [await bench.join(), await bench.join()]
    const first = bench.infer(1)
    await settle()
    assert.equal(leaving.runs.length, 1)
    leaving.peer.control('goodbye', {})
    await settle()
    assert.isTrue(bench.hub.workers()[0]?.draining)
    const second = bench.infer(2)
    await settle()
    assert.equal(staying.runs.length, 1)
    assert.isFalse(leaving.isClosed)
    leaving.runs[0]?.answer()
    staying.runs[0]?.answer()
    assert.deepEqual(await Promise.all([first, second]), [1, 2])
    await settle()
    assert.deepEqual(leaving.closed, { code: 1000, reason: 'goodbye' })
    assert.equal(bench.hub.workers().length, 1)
  }),

  'a worker that vanishes while it drains is gone once': onHub(async (bench) => {
    const [leaving, staying] = [await bench.join(), await bench.join()]
    const call = bench.infer(1)
    await settle()
    leaving.peer.control('goodbye', {})
    await settle()
    leaving.vanish()
    await settle()
    staying.runs[0]?.answer()
    assert.equal(await call, 1)
    assert.isFalse(leaving.isClosed)
  }),

  'a worker that connects anew takes the place of its dead socket at once': onHub(async (bench) => {
    const dead = await bench.join({ incarnation: 'life 1' })
    const call = bench.infer(5)
    await settle()
    assert.equal(dead.runs.length, 1)
    const back = await bench.join({ incarnation: 'life 1' })
    assert.equal(dead.closed?.code, 1001)
    await settle()
    back.runs[0]?.answer()
    assert.equal(await call, 5)
    assert.equal(bench.hub.workers().length, 1)
    assert.isFalse(back.isClosed)
  }),

  'sockets that show no life are swept; pings that the runtime answered count': onHub(async (bench) => {
    const [silent, pinging, unseen] = [await bench.join(), await bench.join(), await bench.join()]
    for (let i = 0; i < 6; i++) {
      await bench.clock.advance(pingIntervalMs)
      pinging.session?.receive('ping')
      unseen.lastAliveMs = bench.clock.now()
      bench.hub.sweep()
      // Two pings and a half.
      assert.equal(silent.closed?.code, i < 2 ? undefined : 1001, `${i + 1} pings`)
    }
    assert.isUndefined(pinging.closed ?? unseen.closed)
    assert.equal(bench.hub.workers().length, 2)
  }),

  'after a sleep, sockets are taken back from their attachments and go on serving': onHub(async (bench) => {
    const before = await bench.join({ name: 'sleeper' })
    const [attachment] = before.saved
    if (!attachment) throw new Error('nothing was saved')
    assert.isBelow(JSON.stringify(attachment).length, LIMITS.maxAttachmentBytes)
    before.vanish()
    await bench.clock.advance(60_000)
    const after = bench.restore(attachment)
    assert.deepEqual(after.frames, [], 'no second welcome')
    assert.deepEqual(bench.hub.workers().map(({ id, name, connectedMs }) => [id, name, connectedMs]), [
      [attachment.id, 'sleeper', 60_000],
    ])
    const call = bench.infer(8)
    await settle()
    after.runs[0]?.answer()
    assert.equal(await call, 8)
    // Its hello timer is long over, and it may say goodbye like any other.
    await bench.clock.advance(2 * helloTimeoutMs)
    after.peer.control('goodbye', {})
    await settle()
    assert.equal(after.closed?.code, 1000)
  }),

  'closing the relay ends every session and every call': onHub(async (bench) => {
    const [joined, greeting] = [await bench.join(), bench.open()]
    const call = outcome(bench.infer(1))
    await settle()
    bench.hub.close()
    assert.equal(joined.closed?.code, 1001)
    assert.equal(greeting.closed?.code, 1001)
    assert.equal(await call, 'unavailable')
    assert.deepEqual(bench.populated, [true, false])
  }),
}
