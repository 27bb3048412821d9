import { systemClock } from '../../shared/base/clock.ts'
import { seededRandom } from '../../shared/base/random.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { Tensor } from '../../shared/wire/tensor.ts'
import { inferenceAt } from '../conformance/gateway_http.ts'
import { affine, affineModel } from '../fixtures/models.ts'
import { ask } from '../conformance/gateway_http.ts'

/** Rows of one call: a small one, and one of 96 KB. */
const ROWS = [1, 8_192] as const
const WEIGHTS = { weights: [[1, -2], [0.5, 3], [4, 0.25]], bias: [0.5, -1] }

/** Calls at a steady rate, however long each takes; every answer is compared with arithmetic. */
export class SteadyLoad {
  answered = 0
  wrong = 0
  /** Refused since they would have waited too long: right on a machine that is busy with other things. */
  shed = 0
  readonly failures = new Map<string, number>()
  readonly #client: ReturnType<typeof inferenceAt>
  readonly #random = seededRandom(1)
  readonly #outstanding = new Set<Promise<void>>()
  #cancel = () => {}

  private constructor(url: string) {
    this.#client = inferenceAt(url)
  }

  static async start(url: string, callsPerSecond: number): Promise<SteadyLoad> {
    await ask(url, 'PUT', '/models/soak/versions/1', { body: affineModel(WEIGHTS) })
    const load = new SteadyLoad(url)
    const next = () => {
      load.#cancel = systemClock.after(1000 / callsPerSecond, next)
      const call = load.#call()
      load.#outstanding.add(call)
      void call.then(() => load.#outstanding.delete(call))
    }
    next()
    return load
  }

  /** No more calls; resolves when the last is answered. */
  async stop(): Promise<void> {
    this.#cancel()
    await Promise.all(this.#outstanding)
  }

  async #call(): Promise<void> {
    const rows = this.#random() < 0.95 ? ROWS[0] : ROWS[1]
    const row = [this.answered % 9, -2, this.answered % 7]
    const values = Float32Array.from({ length: 3 * rows }, (_, i) => row[i % 3] ?? 0)
    try {
      const { outputs } = await this.#client.infer(
        { model: 'soak', inputs: { x: Tensor.from('float32', [rows, 3], values) } },
        { timeoutMs: 30_000 },
      )
      const data = outputs.y?.data as Float32Array
      const isRight = data.length === 2 * rows && String([...data.subarray(-2)]) === String(affine(WEIGHTS, row))
      if (!isRight) this.wrong++
      this.answered++
    } catch (thrown) {
      if (thrown instanceof RpcError && thrown.code === 'resource_exhausted') return void this.shed++
      const reason = thrown instanceof Error ? thrown.message : String(thrown)
      this.failures.set(reason, (this.failures.get(reason) ?? 0) + 1)
    }
  }
}
