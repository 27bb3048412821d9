/** `named_backend.ts NAME`: a service without Shoal that answers with its name. */
import { createServer } from 'node:http'
import process from 'node:process'
import { ready } from './ready.ts'
import { listen } from './rpc_peers/listen.ts'

const body = JSON.stringify({ name: process.argv[2] })
const headers = { 'content-type': 'application/json', 'content-length': body.length }
ready(await listen(createServer((_, response) => response.writeHead(200, headers).end(body))))
