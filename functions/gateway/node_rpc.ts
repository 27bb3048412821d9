import type { IncomingMessage, ServerResponse } from 'node:http'
import { LIMITS } from '../../shared/base/limits.ts'
import { answerOfError, type HttpAnswer } from '../../shared/rpc/http.ts'
import { admit, type Guard } from './guard.ts'
import { callOf, servePlain } from './node_plain_call.ts'
import { NodeRequest } from './node_request.ts'
import { type WriteAnswer, writeAnswer } from './node_answer.ts'
import { TurnBatch, TurnEnd } from './turn_end.ts'
import { answerRpc, type RpcServing } from './rpc_answer.ts'

/** Plain calls alone: a query, an escape or a doubled slash goes the long way, through Hono's routes. */
const RPC_PATH = /^\/rpc\/([A-Za-z][\w.]*)\/([A-Za-z]\w*)$/

interface RpcPath {
  readonly service: string
  readonly method: string
}

/**
 * What paths say. Callers use the same few again and again, and one that is known gives the same texts again, which are
 * then found in tables by what they are and not letter by letter.
 */
class RpcPaths {
  readonly #known = new Map<string, RpcPath>()

  read(url: string): RpcPath | undefined {
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
export function nodeRpc(guard: Guard, serving: RpcServing, turn = new TurnEnd()) {
  const paths = new RpcPaths()
  const answers = new TurnBatch<Answered>(turn, 'answers', ({ outgoing, answer }) => writeAnswer(outgoing, answer))
  const write: WriteAnswer = (outgoing, answer) => answers.add({ outgoing, answer })
  return (incoming: IncomingMessage, outgoing: ServerResponse): boolean => {
    const path = incoming.method === 'POST' ? paths.read(incoming.url ?? '') : undefined
    if (!path || incoming.headers.expect !== undefined) return false
    const request = new NodeRequest(incoming, outgoing)
    try {
      const admitted = admit(guard, 'call', request)
      if (admitted) void serveLater(serving, request, path, admitted, write)
      else serve(serving, request, path, undefined, write)
    } catch (thrown) {
      write(outgoing, answerOfError(thrown))
    }
    return true
  }
}

interface Answered {
  outgoing: ServerResponse
  answer: HttpAnswer
}

async function serveLater(
  serving: RpcServing,
  request: NodeRequest,
  path: RpcPath,
  admitted: Promise<string>,
  write: WriteAnswer,
): Promise<void> {
  let caller: string
  try {
    caller = await admitted
  } catch (thrown) {
    return write(request.outgoing, answerOfError(thrown))
  }
  serve(serving, request, path, caller, write)
}

function serve(
  serving: RpcServing,
  request: NodeRequest,
  path: RpcPath,
  caller: string | undefined,
  write: WriteAnswer,
): void {
  const { service, method } = path
  const call = callOf(request, service, method, caller)
  if (call) return servePlain(serving, request, call, write)
  void answerRpc(serving, request, service, method, caller).then((answer) => write(request.outgoing, answer))
}
