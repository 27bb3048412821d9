import type { IncomingMessage, ServerResponse } from 'node:http'
import { LIMITS } from '../../shared/base/limits.ts'
import { answerOfError } from '../../shared/rpc/http.ts'
import { admit, type Guard } from './guard.ts'
import { callOf, servePlain } from './node_plain_call.ts'
import { NodeRequest } from './node_request.ts'
import { writeAnswer } from './node_answer.ts'
import { answerRpc, type RpcServing } from './rpc_answer.ts'

/** Plain calls alone: a query, an escape or a doubled slash goes the long way, through Hono's routes. */
const RPC_PATH = /^\/rpc\/([A-Za-z][\w.]*)\/([A-Za-z]\w*)$/

/**
 * What paths say. Callers use the same few again and again, and one that is known gives the same texts again, which are
 * then found in tables by what they are and not letter by letter.
 */
class RpcPaths {
  readonly #known = new Map<string, { service: string; method: string }>()

  read(url: string): { service: string; method: string } | undefined {
    const known = this.#known.get(url)
    if (known) return known
    const [, service, method] = RPC_PATH.exec(url) ?? []
    if (service === undefined || method === undefined) return undefined
    const path = { service, method }
    // Callers make paths up as they like.
    if (this.#known.size >= LIMITS.maxRoutedMethods) this.#known.clear()
    if (url.length <= LIMITS.maxNameLength) this.#known.set(url, path)
    return path
  }
}

/**
 * Serves `POST /rpc/{service}/{method}` on Node's own messages. The web's Request, Headers and Response cost as much as
 * all that the gateway does with a small call; decisions and answers are the same, for they come from the same code.
 * @returns whether the request was such a call; else it is someone else's to serve
 */
export function nodeRpc(guard: Guard, serving: RpcServing) {
  const serve = (request: NodeRequest, service: string, method: string, caller: string | undefined) => {
    const call = callOf(request, service, method, caller)
    if (call) return servePlain(serving, request, call)
    void answerRpc(serving, request, service, method, caller).then((answer) => writeAnswer(request.outgoing, answer))
  }
  const paths = new RpcPaths()
  return (incoming: IncomingMessage, outgoing: ServerResponse): boolean => {
    const path = incoming.method === 'POST' ? paths.read(incoming.url ?? '') : undefined
    if (!path || incoming.headers.expect !== undefined) return false
    const { service, method } = path
    const request = new NodeRequest(incoming, outgoing)
    const refuse = (thrown: unknown) => writeAnswer(outgoing, answerOfError(thrown))
    try {
      const admitted = admit(guard, 'call', (name) => request.get(name) ?? undefined)
      if (!admitted) serve(request, service, method, undefined)
      else void admitted.then((caller) => serve(request, service, method, caller), refuse)
    } catch (thrown) {
      refuse(thrown)
    }
    return true
  }
}
