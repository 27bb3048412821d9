import { assert } from 'chai'
import { FakeClock } from '../../../shared/base/clock.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import type { RpcRequest, Send } from '../../../shared/rpc/send.ts'
import { ServedSockets } from '../../../shared/rpc/served_sockets.ts'
import { SocketPool } from '../../../shared/rpc/socket_pool.ts'
import { decodePayload, encodePayload } from '../../../shared/wire/payload.ts'
import type { Suite } from '../../suite.ts'
import { type MemorySocket, socketPair } from './memory_socket.ts'
import { echo, rejected, requestOf, settled, unaryOf, valueOf } from './harness.ts'

const { socketOpenMs, socketIdleMs, socketRestMs, pingIntervalMs, reconnectCapMs } = DEFAULTS

/** For calls that outlast what is tested. */
const LASTING = { timeoutMs: 600_000 }

/** A gateway's pool and one instance, whose sockets open when the test says so. */
class Bench implements AsyncDisposable {
  readonly clock = new FakeClock()
  /** The gateway's end and the instance's of each socket asked for. */
  readonly opened: [MemorySocket, MemorySocket][] = []
  readonly asked: unknown[] = []
  readonly seen: RpcRequest[] = []
  /** Calls that went the plain way. */
  plain = 0
  /** Held calls of the instance, by value. */
  readonly held = new Map<unknown, () => void>()
  readonly served: ServedSockets
  readonly pool: SocketPool
  readonly send: Send

  constructor({ fails = () => false, random = () => 0.5 }: { fails?: () => boolean; random?: () => number } = {}) {
    const { clock } = this
    const serve: Send = (request) => {
      this.seen.push(request)
      const value = decodePayload(request.payload)
      if (typeof value !== 'string') return echo(request)
      return new Promise((resolve) => this.held.set(value, () => resolve(unaryOf(value))))
    }
    this.served = new ServedSockets({ serve, clock, token: () => 'secret', open: true })
    this.pool = new SocketPool({
      clock,
      random,
      open: (url, headers) => {
        this.asked.push([url, headers])
        if (fails()) throw new Error('cannot open')
        const pair = socketPair()
        this.opened.push(pair)
        return pair[0]
      },
    })
    this.send = this.pool.connect('http://one:80/', { authorization: 'Bearer secret' }, (request) => {
      this.plain++
      return echo(request)
    })
  }

  /** Makes a call, and opens the socket that it asked for. */
  async open(isGateway = true): Promise<void> {
    await valueOf(this.send(requestOf(0)))
    const [near, far] = this.opened.at(-1) ?? []
    if (far) this.served.accept(far, isGateway)
    far?.open()
    near?.open()
    this.plain = 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.pool.close()
    await settled()
    assert.deepEqual([this.pool.size, this.served.size, this.clock.pending], [0, 0, 0], 'something is left over')
  }
}

function on(test: (bench: Bench) => Promise<void>): () => Promise<void> {
  return async () => {
    await using bench = new Bench()
    await test(bench)
  }
}

export const socketPoolSuite: Suite = {
  name: 'socket pool',
  cases: {
    'the first call opens a socket and goes the plain way, as do all until it is open': on(async (bench) => {
      for (let n = 0; n < 5; n++) assert.equal(await valueOf(bench.send(requestOf(n))), n)
      assert.deepEqual(bench.asked, [['ws://one:80/rpc', { authorization: 'Bearer secret' }]])
      assert.deepEqual([bench.plain, bench.seen.length], [5, 0])
    }),

    'calls share the open socket': on(async (bench) => {
      await bench.open()
      const calls = Array.from({ length: 50 }, (_, n) => valueOf(bench.send(requestOf(n))))
      assert.deepEqual(await Promise.all(calls), [...calls.keys()])
      assert.deepEqual([bench.plain, bench.seen.length, bench.opened.length], [0, 50, 1])
    }),

    'who calls is believed of a gateway and of nobody else': async () => {
      for (const [isGateway, caller] of [[true, 'key-1'], [false, undefined]] as const) {
        await using bench = new Bench()
        await bench.open(isGateway)
        await bench.send(requestOf(1, { caller: 'key-1' }))
        await bench.send(requestOf(1))
        assert.deepEqual(bench.seen.map((request) => request.caller), [caller, undefined])
      }
    },

    'long messages go the plain way, and calls beyond what a socket takes': on(async (bench) => {
      await bench.open()
      await bench.send(requestOf(1, { payload: encodePayload(new Uint8Array(LIMITS.maxFrameBytes), 'msgpack') }))
      assert.deepEqual([bench.plain, bench.seen.length], [1, 0])
      const held = Array.from({ length: LIMITS.maxCallsPerSocket }, (_, n) => bench.send(requestOf(`held ${n}`)))
      await valueOf(bench.send(requestOf(1)))
      assert.equal(bench.plain, 2)
      await settled()
      for (const letGo of bench.held.values()) letGo()
      await Promise.all(held)
    }),

    'a socket that cannot be opened is tried again later and later': async () => {
      await using bench = new Bench({ fails: () => true, random: () => 1 - Number.EPSILON })
      const atMs: number[] = []
      for (let ms = 0; ms < 60_000; ms += 250) {
        const asked = bench.asked.length
        await bench.send(requestOf(1))
        if (bench.asked.length > asked) atMs.push(ms)
        await bench.clock.advance(250)
      }
      const pauses = atMs.slice(1).map((ms, i) => ms - (atMs[i] ?? 0))
      assert.deepEqual(pauses.slice(0, 6), [250, 500, 1000, 2000, 4000, 8000])
      assert.isTrue(pauses.slice(6).every((ms) => ms === reconnectCapMs))
      assert.equal(bench.plain, 240)
    },

    'one that does not open in time is given up': on(async (bench) => {
      await bench.send(requestOf(1))
      await bench.clock.advance(socketOpenMs)
      assert.equal(bench.pool.size, 0)
      await bench.clock.advance(reconnectCapMs)
      await bench.open()
      await bench.send(requestOf(1))
      assert.deepEqual([bench.plain, bench.opened.length], [0, 2])
    }),

    'a broken socket fails what was sent, and nothing else': on(async (bench) => {
      await bench.open()
      const lost = rejected(bench.send(requestOf('lost')), 'unavailable', /the connection was lost \(1006/)
      await settled()
      for (const end of bench.opened[0] ?? []) end.end(1006, '')
      // It has broken, and nobody has heard of it yet.
      const unsent = rejected(bench.send(requestOf(1)), 'unavailable', /the socket is closed/)
      assert.isFalse((await lost).neverSent)
      assert.isTrue((await unsent).neverSent)
      await settled()
      assert.equal(await valueOf(bench.send(requestOf(2))), 2)
      assert.equal(bench.plain, 1)
      await bench.clock.advance(reconnectCapMs)
      await bench.open()
      await bench.send(requestOf(3))
      assert.equal(bench.plain, 0)
    }),

    'an idle socket is closed, and one in use is not': on(async (bench) => {
      await bench.open()
      const call = bench.send(requestOf('long', LASTING))
      await bench.clock.advance(3 * socketIdleMs)
      assert.equal(bench.pool.size, 1)
      bench.held.get('long')?.()
      await call
      for (let ms = 0; ms < 3 * socketIdleMs; ms += socketIdleMs / 2) {
        await bench.send(requestOf(1))
        await bench.clock.advance(socketIdleMs / 2)
      }
      assert.deepEqual([bench.pool.size, bench.plain], [1, 0])
      await bench.clock.advance(socketIdleMs + 2 * pingIntervalMs)
      assert.deepEqual([bench.pool.size, bench.served.size], [0, 0])
      // It is opened again at once when it is needed.
      await bench.open()
      assert.equal(bench.pool.size, 1)
    }),

    'a socket whose other side falls silent is given up by both sides': on(async (bench) => {
      await bench.open()
      const call = rejected(bench.send(requestOf('unheard', LASTING)), 'unavailable', /pings were not answered/)
      await settled()
      for (const end of bench.opened[0] ?? []) end.deaf = true
      await bench.clock.advance(3 * pingIntervalMs)
      await call
      assert.equal(bench.pool.size, 0)
    }),

    'after a goodbye: no new calls, those in flight are answered, then it closes': on(async (bench) => {
      await bench.open()
      const running = bench.send(requestOf('running', LASTING))
      await settled()
      bench.served.leave()
      await settled()
      assert.equal(await valueOf(bench.send(requestOf(1))), 1)
      assert.equal(bench.plain, 1)
      bench.held.get('running')?.()
      assert.equal(await valueOf(running), 'running')
      await bench.clock.advance(100)
      assert.deepEqual([bench.pool.size, bench.served.size], [0, 0])
      // It is not bothered again until another may have taken its place.
      await bench.send(requestOf(1))
      assert.equal(bench.asked.length, 1)
      await bench.clock.advance(socketRestMs)
      await bench.send(requestOf(1))
      assert.equal(bench.asked.length, 2)
    }),

    'an instance that ends refuses later calls as never begun, waits for those it has, and closes': on(
      async (bench) => {
        await bench.open()
        const running = bench.send(requestOf('running', LASTING))
        await settled()
        let isOver = false
        const end = bench.served.end(10_000).then(() => isOver = true)
        // Its goodbye has not come yet.
        const refused = rejected(bench.send(requestOf(1)), 'unavailable', /this instance is stopping/)
        assert.isTrue((await refused).neverSent)
        await bench.clock.advance(1_000)
        assert.isFalse(isOver)
        bench.held.get('running')?.()
        assert.equal(await valueOf(running), 'running')
        await bench.clock.advance(100)
        await end
        assert.equal(bench.served.size, 0)
      },
    ),

    'a call that goes on too long does not keep an instance from ending': on(async (bench) => {
      await bench.open()
      const running = rejected(bench.send(requestOf('for ever', LASTING)), 'unavailable')
      await settled()
      const end = bench.served.end(1_000)
      await bench.clock.advance(1_100)
      await end
      await running
      bench.held.get('for ever')?.()
    }),

    'a closed pool goes the plain way': on(async (bench) => {
      await bench.open()
      const call = rejected(bench.send(requestOf('in flight')), 'unavailable', /the connection was closed/)
      bench.pool.close()
      await call
      assert.equal(await valueOf(bench.send(requestOf(1))), 1)
      assert.deepEqual([bench.plain, bench.asked.length], [1, 1])
    }),

    'who may open a socket': async () => {
      let token: string | undefined = 'secret'
      const options = { serve: echo, clock: new FakeClock(), token: () => token }
      const [open, host] = [true, false].map((open) => new ServedSockets({ ...options, open }))
      const admit = (to: ServedSockets | undefined, more: Record<string, string>) => {
        const headers = new Map(Object.entries({ 'sec-websocket-protocol': 'other, shoal.v1', ...more }))
        return to?.admit(headers)
      }
      assert.deepEqual(admit(open, {}), { status: 101, isGateway: false })
      assert.deepEqual(admit(host, {}), { status: 401 })
      for (const to of [open, host]) {
        assert.deepEqual(admit(to, { authorization: 'Bearer secret' }), { status: 101, isGateway: true })
        assert.deepEqual(admit(to, { authorization: 'Bearer other' }), { status: 401 })
        assert.deepEqual(admit(to, { authorization: 'Bearer secret', origin: 'http://a' }), { status: 403 })
        assert.deepEqual(admit(to, { 'sec-websocket-protocol': 'shoal.v2' }), { status: 426 })
      }
      token = undefined
      assert.deepEqual(admit(open, { authorization: 'Bearer undefined' }), { status: 503 })
      assert.deepEqual(admit(open, {}), { status: 101, isGateway: false })
      const ends: MemorySocket[] = []
      for (let n = 0; n < LIMITS.maxCallSockets; n++) {
        const [near, far] = socketPair()
        open?.accept(far, false)
        ends.push(near)
      }
      assert.deepEqual(admit(open, {}), { status: 503 })
      ends[0]?.end(1006, '')
      ends[0]?.other?.end(1006, '')
      await settled()
      assert.deepEqual(admit(open, {}), { status: 101, isGateway: false })
      open?.leave()
      assert.deepEqual(admit(open, {}), { status: 503 })
      for (const near of ends) near.other?.end(1006, '')
      await settled()
    },
  },
}
