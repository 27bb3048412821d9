import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { GatewayUnderTest } from '../../conformance/gateway_suite.ts'
import { startInProcess } from '../../conformance/start_node_gateway.ts'
import { buildWeb } from '../../../infra/build_web.ts'
import { fixedModel } from '../../fixtures/models.ts'
import { ROOT, runCli, startCli, startProcess, temporaryFolder } from '../../fixtures/process.ts'
import { runHere } from './in_process.ts'

/** Where nothing listens. */
const NOBODY = 'http://127.0.0.1:1'

describe('a mistake is answered in one line', () => {
  let gateway: GatewayUnderTest
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  beforeAll(async () => {
    folder = await temporaryFolder()
    await buildWeb()
    gateway = await startInProcess([])
    await fetch(`${gateway.url}/models/fixed/versions/1`, { method: 'PUT', body: fixedModel() })
    await writeFile(join(folder.path, 'wrong.json'), '[["one", 2, 3], [4, 5, 6]]')
    await writeFile(join(folder.path, 'wrong.png'), 'not a picture')
    await writeFile(join(folder.path, 'junk.bin'), Uint8Array.from({ length: 200 }, (_, i) => (i * 83) % 256))
    await writeFile(join(folder.path, 'wrong.onnx'), '{}')
    await writeFile(join(folder.path, 'right.onnx'), fixedModel())
  })
  afterAll(async () => {
    await gateway.close()
    await folder[Symbol.asyncDispose]()
  })

  const lineFor = async (words: string): Promise<string> => {
    const { stdout, line } = await runHere(
      words.replace('GATEWAY', gateway.url).replace('FOLDER', folder.path).split(' '),
    )
    expect(stdout).toBe('')
    return line
  }

  const MISTAKES: readonly [line: string, message: RegExp][] = [
    ['nothing', /"nothing": the command must be one of start, /],
    ['constructor', /"constructor": the command must be one of/],
    ['--nothing', /"--nothing": the command must be one of/],
    ['start --nothing', /Unknown option '--nothing'/],
    ['start 8080', /Unexpected argument '8080'/],
    ['start --port', /'--port <value>' argument missing/],
    ['start --port http', /--port: a whole number from 0 to 65535 is required, got "http"/],
    ['start --port 65536', /--port: a whole number/],
    ['start --workers -1', /'--workers' argument is ambiguous/],
    ['start --workers=-1', /--workers: a whole number from 0 to 64 is required, got "-1"/],
    ['start --data-dir /dev/null', /Cannot use \/dev\/null[^ ]*: .* must be a folder, got a file/],
    // Where Node's own way to make folders would never end.
    [
      'start --port 0 --data-dir /proc/x/y',
      /Cannot make the folder \/proc\/x: \/proc must take new folders, got one that takes none/,
    ],
    ['keys create --scope call --data-dir /proc/x', /Cannot make the folder \/proc\/x: \/proc must take new folders/],
    ['start --port 0 --data-dir FOLDER --host 0.0.0.0', /other than loopback requires an API key, got none/],
    ['start --port 0 --data-dir FOLDER --host ::', /other than loopback requires an API key, got none/],
    ['start --port 0 --data-dir FOLDER --host 192.0.2.1', /other than loopback requires an API key, got none/],
    ['worker here', /Unexpected argument 'here'/],
    ['worker --device tpu', /--device must be auto, webgpu, cpu or wasm, got "tpu"/],
    ['worker --gateway nowhere', /--gateway must be an http\(s\) URL, got "nowhere"/],
    ['models pull', /"models pull": .*\bpush\b.* is required, got "pull"/],
    ['models push', /a FILE\.onnx is required, got none/],
    ['models push FOLDER/wrong.onnx', /--name is required, got none/],
    ['models push FOLDER/wrong.onnx more --name a', /Unexpected argument 'more'/],
    ['models push FOLDER/nothing.onnx --name a', /nothing\.onnx: an ONNX file is required, got no such file/],
    ['models new mlp --inputs 4 --outputs 2 --out FOLDER', /Cannot use .*: a file is required, got a folder/],
    [
      'models new mlp --inputs 4 --outputs 2 --out FOLDER/no/m.onnx',
      /Cannot use .*no\/m\.onnx: .* must exist, got none/,
    ],
    ['models new', /mlp, cnn or transformer is required, got none/],
    ['models push FOLDER --name a', /an ONNX file is required, got a folder/],
    ['models push FOLDER/wrong.onnx --name a --gateway GATEWAY', /expected an ONNX file .*got JSON/],
    ['models push FOLDER/right.onnx --name ../a --gateway GATEWAY', /its name must be/],
    ['call', /a MODEL or SERVICE\/METHOD is required, got none/],
    ['call fixed --timeout 0', /--timeout: a whole number from 1/],
    [
      'call demo.Hello/sayHello {bad --gateway GATEWAY',
      /Cannot call demo\.Hello\/sayHello: JSON is required, got "\{bad"/,
    ],
    ['call demo.Hello/sayHello {} {} --gateway GATEWAY', /one JSON value is required, got "\{\}" as well/],
    ['call nothing --gateway GATEWAY', /"nothing": the model must be one of fixed, got "nothing"/],
    ['call fixed --gateway GATEWAY', /inputs must be "x", got none/],
    ['call fixed x --gateway GATEWAY', /inputs must be given as NAME=VALUE with names x, got "x"/],
    ['call fixed y=[1] --gateway GATEWAY', /with names x, got "y=\[1\]"/],
    ['call fixed --model-version 9 --gateway GATEWAY', /"fixed": the version must be one of 1, latest, got "9"/],
    ['call fixed x=@FOLDER/junk.bin --gateway GATEWAY', /JSON is required .*, got ".*" … in .*junk\.bin$/],
    ['call fixed x=one --gateway GATEWAY', /input "x": JSON is required .*got "one"/],
    ['call fixed x=[[1,2]] --gateway GATEWAY', /input "x" must have shape \[2, 3\], got \[1, 2\]/],
    ['call fixed x=@FOLDER/no.json --gateway GATEWAY', /input "x": a file is required, got no such file .*no\.json/],
    ['call fixed x=@FOLDER/wrong.json --gateway GATEWAY', /input "x": element 0 must be .*"one"/],
    ['call fixed x=@FOLDER/wrong.png --gateway GATEWAY', /Cannot read .*PNG/i],
    ['call fixed x=[[1,2,3],[4,5,6]] --gateway GATEWAY', /no worker is connected/],
    ['call demo.Nothing/sayHello --gateway GATEWAY', /demo\.Nothing: no instance of it is registered/],
    ['keys create', /--scope must be one of call, worker, volunteer, service, admin, got none/],
    ['keys create --scope root', /--scope must be one of .*got root/],
    ['keys remove --data-dir FOLDER', /an id .* is required, got none/],
    ['keys remove 123 --data-dir FOLDER', /an id .* is required, got 123/],
    ['train --model FOLDER/nothing.onnx --data FOLDER --out FOLDER/t', /Cannot train .*nothing\.onnx: an ONNX file/],
    [
      'train --model FOLDER/right.onnx --data FOLDER/none --out FOLDER/t',
      /none must be there, got no such file or folder/,
    ],
    ['train --model FOLDER/right.onnx', /--model, --data and --out are required, got --model$/],
    ['jobs submit', /a FILE or a SERVICE\/METHOD is required, got none/],
    ['jobs get', /an ID is required, got none/],
    ['keys burn', /create, list or remove is required, got "burn"/],
  ]
  it.for(MISTAKES)('shoal %s', async ([line, message]) => {
    const words = await lineFor(line)
    // One line, and nothing that a terminal would act on.
    expect(words).toMatch(/^shoal: [\x20-\x7e\u00a0-\uffff]*$/)
    expect(words).toMatch(message)
  })

  it.for([
    'models list',
    'models push FOLDER/right.onnx --name a',
    'call fixed x=[1]',
    'call demo.Hello/sayHello',
  ])('shoal %s without a gateway', async (line) => {
    expect(await lineFor(`${line} --gateway ${NOBODY}`)).toMatch(
      /^shoal: Cannot reach the gateway: http:\/\/127\.0\.0\.1:1 does not answer[^\n]*$/,
    )
  })

  it('by the process too, which exits with 1 and prints no stack', async () => {
    const { port } = new URL(gateway.url)
    const data = ['--data-dir', folder.path]
    const cases: [string[], RegExp, Record<string, string>?][] = [
      [['nothing'], /must be one of start/],
      [
        ['start', '--port', port, ...data],
        new RegExp(`Cannot listen on 127\\.0\\.0\\.1:${port}: the port must be free`),
      ],
      [['start', '--port', '0', '--host', '0.0.0.0', ...data], /Cannot listen on 0\.0\.0\.0: .*requires an API key/],
      [['start', '--port', '0', ...data], /keys/, { SHOAL_KEYS: 'secret' }],
      [
        ['start', '--port', '0', ...data],
        /UPSTASH_REDIS_REST_TOKEN must be set as UPSTASH_REDIS_REST_URL is, got none/,
        { UPSTASH_REDIS_REST_URL: 'http://127.0.0.1:1' },
      ],
      [['call', 'fixed', '--gateway', NOBODY], /does not answer/],
    ]
    await Promise.all(cases.map(async ([args, message, env]) => {
      const { code, stdout, stderr } = await runCli(args, { env })
      expect([args, code, stdout, stderr]).toEqual([args, 1, '', expect.stringMatching(/^shoal: [^\n]*\n$/)])
      expect(stderr).toMatch(message)
    }))
  })

  it('by the gateway on Deno too, which has a help', async () => {
    const gateway = (...args: string[]) =>
      startProcess('deno', ['run', '-A', 'functions/gateway/deno.ts', ...args], { cwd: ROOT }).ended
    const { code, stdout } = await gateway('--help')
    expect([code, stdout]).toEqual([0, expect.stringContaining('Usage: deno run -A functions/gateway/deno.ts')])
    for (
      const [option, value, message] of [['--port', 'http', /--port: a whole number/], [
        '--prot',
        '1',
        /mean --port/,
      ]] as const
    ) {
      const { code, stderr } = await gateway(option, value)
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^shoal: [^\n]*\n$/)])
      expect(stderr).toMatch(message)
    }
  }, 60_000)

  it('by a worker whose key is refused', async () => {
    const key = { id: '0'.repeat(12), sha256: '0'.repeat(64), scopes: ['admin'], createdAt: '' } as const
    const keyed = await startInProcess([key])
    try {
      await Promise.all(['wasm', 'webgpu'].map(async (device) => {
        const { code, stderr } = await runCli(['worker', '--device', device, '--gateway', keyed.url])
        const line = expect.stringMatching(/^shoal: [^\n]*valid API key is required[^\n]*\n$/)
        expect([device, code, stderr]).toEqual([device, 1, line])
      }))
    } finally {
      await keyed.close()
    }
  }, 120_000)
})

it.for(['wasm', 'webgpu'])('a worker on %s waits for a gateway that is not there yet, and says so', async (device) => {
  const worker = startCli(['worker', '--device', device, '--name', 'early', '--gateway', NOBODY])
  await worker.wrote(
    /^worker early: Cannot (enrol|reach the gateway): http:\/\/127\.0\.0\.1:1 does not answer; trying again$/m,
  )
  worker.signal('SIGINT')
  const { code, stderr } = await worker.ended
  expect([code, stderr]).toEqual([0, ''])
})
