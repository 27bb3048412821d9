/** The other end of the floor: sends back what it gets. */
import process from 'node:process'
import { WebSocket } from 'ws'
import { ready } from './ready.ts'

const socket = new WebSocket(`ws://127.0.0.1:${process.argv[2]}`, { perMessageDeflate: false })
socket.on('message', (data) => socket.send(data))
socket.on('open', () => ready(0))
