import { Inference } from '../../shared/contracts/inference.ts'
import type { ModelCatalog } from '../../shared/models/catalog.ts'
import type { Send } from '../../shared/rpc/send.ts'
import { createServer, implement } from '../../shared/rpc/server.ts'
import { generate } from './generate.ts'
import type { Infer } from './inference.ts'

/** `shoal.Inference` over `Infer`: what the RPC face calls. */
export function inferenceService(deps: { catalog: ModelCatalog; infer: Infer }): Send {
  return createServer([
    implement(Inference, {
      infer: ({ model, version, inputs, outputs, priority }, context) => {
        const { signal, timeoutMs, traceparent, caller } = context
        const call = { model, version, inputs, outputs, priority, caller, signal, timeoutMs, traceparent }
        return deps.infer(call).then(({ manifest, outputs, metadata }) => {
          context.forwardMetadata(metadata)
          return { model: manifest.name, version: manifest.version, outputs }
        })
      },
      generate: (input, { signal, timeoutMs, traceparent, caller }) =>
        generate(deps, { ...input, caller, signal, timeoutMs, traceparent }),
    }),
  ])
}
