import { readFile } from 'node:fs/promises'
import process from 'node:process'
import type { JobView } from '../../shared/contracts/jobs.ts'
import { invalid } from '../../shared/wire/errors.ts'
import { type Command, GATEWAY_OPTIONS, gatewayAccess, gatewayHelp, parse } from './command.ts'
import { request } from './request.ts'
import { quote } from './text.ts'

const HELP = `Hands calls in that are kept until someone can do them, and asks what became of them.

Usage: shoal jobs submit FILE.json|FILE.ndjson|- [--idempotency-key KEY]
       shoal jobs submit SERVICE/METHOD '{"a":1}' [--idempotency-key KEY]
       shoal jobs get ID            its state, and its result once it is done
       shoal jobs list              how many wait, the latest dead jobs, and what they died of
       shoal jobs retry ID          queues a dead job again
       shoal jobs cancel ID

  A file holds a job as JSON, or many, one on each line:
  {"model":"m","inputs":{"x":{"$tensor":"float32","shape":[1,2],"data":[1,2]}},"options":{"priority":"low"}}
${gatewayHelp()}
`

export const jobs: Command = {
  summary: 'hands in calls that are kept until someone can do them',
  help: HELP,
  async run(args) {
    const { values, positionals: [action = 'list', what, params] } = parse(args, {
      ...GATEWAY_OPTIONS,
      'idempotency-key': { type: 'string' },
    }, 3)
    const access = gatewayAccess(values, process.env)
    if (action === 'list') {
      const { jobs, queued, running } = await request<{ jobs: JobView[]; queued: number; running: number }>(
        access,
        'GET',
        '/jobs?state=dead',
      )
      const counts = `${queued} waiting, ${running} running, ${
        jobs.length === 0 ? 'none' : `your latest ${jobs.length}`
      } dead\n`
      return void process.stdout.write(counts + jobs.map(oneLine).join(''))
    }
    if (!['submit', 'get', 'retry', 'cancel'].includes(action)) {
      throw invalid(`Cannot run "jobs ${action}": submit, get, list, retry or cancel is required, got "${action}"`)
    }
    if (what === undefined) {
      throw invalid(
        `Cannot ${action}: ${action === 'submit' ? 'a FILE or a SERVICE/METHOD' : 'an ID'} is required, got none`,
      )
    }
    const path = `/jobs/${encodeURIComponent(what)}`
    if (action === 'submit') {
      const key = values['idempotency-key']
      const { text, isLines } = await readJobs(what, params)
      const submitted = await request<{ id?: string; ids?: string[] }>(access, 'POST', '/jobs', {
        body: new TextEncoder().encode(text),
        headers: {
          'content-type': isLines ? 'application/x-ndjson' : 'application/json',
          ...(key !== undefined && { 'idempotency-key': key }),
        },
      })
      return void process.stdout.write(`${(submitted.ids ?? [submitted.id]).join('\n')}\n`)
    }
    const view = action === 'get' ? await request<JobView>(access, 'GET', path) : await request<JobView>(
      access,
      action === 'cancel' ? 'DELETE' : 'POST',
      action === 'cancel' ? path : `${path}/retry`,
    )
    process.stdout.write(`${JSON.stringify(view, undefined, 2)}\n`)
  },
}

/** A file's jobs, those from standard input, or one made of a method and its params. */
async function readJobs(what: string, params: string | undefined): Promise<{ text: string; isLines: boolean }> {
  if (params !== undefined) {
    const [service, method] = what.split('/')
    try {
      return { text: JSON.stringify({ service, method, params: JSON.parse(params) }), isLines: false }
    } catch (cause) {
      throw invalid(`Cannot submit: the params must be JSON, got ${quote(params)}`, { cause })
    }
  }
  const text = what === '-' ? await readAll(process.stdin) : await readFile(what, 'utf8').catch((cause) => {
    throw invalid(`Cannot submit ${what}: a file of jobs is required`, { cause })
  })
  return { text, isLines: !isJson(text) }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

async function readAll(input: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of input) text += decoder.decode(chunk, { stream: true })
  return text + decoder.decode()
}

function oneLine({ id, service, method, failures, maxAttempts, error }: JobView): string {
  return `${id}  ${service}/${method}  ${failures} of ${maxAttempts} attempts failed  ${error?.code}: ${error?.message}\n`
}
