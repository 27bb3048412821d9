import { Inference } from '../../shared/contracts/inference.ts'
import { createClient } from '../../shared/rpc/create_client.ts'
import type { Metadata } from '../../shared/rpc/send.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { DEMO_MODEL_NAME, readSamplePicture } from '../demo/files.ts'
import { toTensor } from '../demo/picture.ts'
import { errorOf, TOLERANCE } from '../demo/reference.ts'
import type { GatewayAccess } from './command.ts'
import { stagesOf } from './stages.ts'

/** Named in calls, as a user may have pushed newer ones. */
export const DEMO_VERSION = '1'

/** One real inference through the gateway, its result checked against plain arithmetic. */
export async function runDemo(access: GatewayAccess, say: (line: string) => void): Promise<void> {
  const client = createClient(Inference, { gateway: access.url, key: access.key })
  const image = toTensor([await readSamplePicture()])
  const startedAtMs = performance.now()
  let metadata: Metadata = {}
  const { outputs } = await client.infer(
    { model: DEMO_MODEL_NAME, version: DEMO_VERSION, inputs: { image } },
    { onMetadata: (received) => metadata = received },
  )
  const totalMs = performance.now() - startedAtMs
  const error = errorOf(outputs, image)
  if (!(error <= TOLERANCE)) {
    throw new RpcError('internal', `Cannot trust the worker: its answer must be within ${TOLERANCE}, got ${error} off`)
  }
  const [red = 0, green = 0, blue = 0] = outputs.color?.data as Float32Array
  const hex = [red, green, blue].map((value) => Math.round(value * 255).toString(16).padStart(2, '0')).join('')
  say(
    `result   ${DEMO_MODEL_NAME}(fish.png): mean colour #${hex}, right to ${
      error.toExponential(1)
    } (${TOLERANCE} allowed)`,
  )
  say(`time     ${totalMs.toFixed(1)} ms: ${stagesOf(metadata)}`)
}
