import { create, createFileRegistry, type DescService } from '@bufbuild/protobuf'
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt'
import { createClient } from '@connectrpc/connect'
import { connectNodeAdapter, createConnectTransport } from '@connectrpc/connect-node'
import { createServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { MESSAGE } from '../rpc_contract.ts'
import { listen } from './listen.ts'
import type { RpcPeer } from './peer.ts'

/** Connect for Node over one of the two versions of HTTP. */
export function connectPeer(httpVersion: '1.1' | '2'): RpcPeer {
  return {
    serve() {
      const handler = connectNodeAdapter({
        routes: (router) =>
          router.service(Echo, {
            echo: ({ id, name, tags }) => ({ id, name, tags }),
          }),
      })
      return listen(httpVersion === '2' ? createHttp2Server(handler) : createServer(handler))
    },
    connect(port) {
      const transport = createConnectTransport({
        baseUrl: `http://127.0.0.1:${port}`,
        httpVersion,
      })
      const client = createClient(Echo, transport)
      return Promise.resolve(async () => {
        const { id, name, tags } = await client.echo(MESSAGE)
        return { id, name, tags }
      })
    },
  }
}

/** bench.proto as its compiler would describe it, so that the benchmark needs none. */
const Echo: DescService = describeEcho()

function describeEcho(): DescService {
  const { DOUBLE, STRING } = FieldDescriptorProto_Type
  const { OPTIONAL, REPEATED } = FieldDescriptorProto_Label
  const file = create(FileDescriptorProtoSchema, {
    name: 'bench.proto',
    package: 'bench',
    syntax: 'proto3',
    messageType: [{
      name: 'Record',
      field: [
        {
          name: 'id',
          jsonName: 'id',
          number: 1,
          type: DOUBLE,
          label: OPTIONAL,
        },
        {
          name: 'name',
          jsonName: 'name',
          number: 2,
          type: STRING,
          label: OPTIONAL,
        },
        {
          name: 'tags',
          jsonName: 'tags',
          number: 3,
          type: STRING,
          label: REPEATED,
        },
      ],
    }],
    service: [{
      name: 'Echo',
      method: [{
        name: 'Echo',
        inputType: '.bench.Record',
        outputType: '.bench.Record',
      }],
    }],
  })
  const service = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] })).getService('bench.Echo')
  if (!service) {
    throw new Error('Cannot describe bench.Echo: the registry must hold it, got nothing')
  }
  return service
}
