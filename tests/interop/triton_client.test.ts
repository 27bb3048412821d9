import { join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type GatewayUnderTest, joinHostWorker } from '../conformance/gateway_suite.ts'
import { startOnDeno } from '../conformance/start_deno_gateway.ts'
import { startInProcess } from '../conformance/start_node_gateway.ts'
import { ROOT, startProcess } from '../fixtures/process.ts'
import { startWorkerdGateway } from '../runtime/start_workerd_gateway.ts'
import { pushTritonModels } from './triton_models.ts'

/**
 * Where the client's source lies (the folder that holds `tritonclient`); tests/interop/README.md tells how to get it.
 * Without it vitest.config.ts leaves this file out.
 */
const { SHOAL_TRITON_CLIENT: client, SHOAL_PYTHON: python = '/usr/bin/python3' } = process.env
const GATEWAYS = { Node: startInProcess, Deno: startOnDeno, workerd: startWorkerdGateway }

describe("Triton's own Python client, unmodified", () => {
  for (const [runtime, start] of Object.entries(GATEWAYS)) {
    describe(`on ${runtime}`, () => {
      let gateway: GatewayUnderTest
      let worker: { stop(): Promise<void> } | undefined
      beforeAll(async () => {
        gateway = await start([])
        worker = await joinHostWorker(gateway.url, {})
        await pushTritonModels(gateway.url)
      })
      afterAll(async () => {
        await worker?.stop()
        await gateway?.close()
      })

      it('finds all that it asks for', async () => {
        const script = join(ROOT, 'tests/interop/triton_client.py')
        const running = startProcess(python, [script, new URL(gateway.url).host], { env: { PYTHONPATH: client } })
        const { code, stdout, stderr } = await running.ended
        expect([code, stderr]).toEqual([0, ''])
        const sum = [[7, 10], [1.5, 0]]
        const product = [[10, 21], [0.5, -1]]
        const both = { sum, product }
        expect(JSON.parse(stdout)).toEqual({
          live: true,
          ready: true,
          model_ready: [true, true, false],
          server: {
            name: 'shoal',
            version: expect.any(String),
            extensions: ['binary_tensor_data', 'parameters', 'classification'],
          },
          model: {
            name: 't-pair',
            versions: ['1'],
            platform: 'onnx_onnxv1',
            inputs: ['a', 'b'].map((name) => ({ name, datatype: 'FP32', shape: [-1, 2] })),
            outputs: ['sum', 'product'].map((name) => ({ name, datatype: 'FP32', shape: [-1, 2] })),
          },
          index: ['t-labelled', 't-pair', 't-text'].map((name) => ({ name, version: '1', state: 'READY', reason: '' })),
          binary: both,
          json: both,
          mixed: both,
          id: '7',
          one: { sum: null, product },
          parameters: both,
          async: Array(8).fill(both),
          gzip: both,
          deflate: both,
          text: Array(2).fill(['shoal', 'größer 🐟']),
          classes: ['5:0:cat', '3:2:fish', '2:2:fish', '1:1:dog'],
          no_model: { status: '404', message: expect.stringContaining('"t-none"') },
          bad_input: { status: '400', message: expect.stringContaining('inputs must be "a", "b", got "x"') },
        })
      })
    })
  }
})
