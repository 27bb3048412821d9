import { RpcError } from '../shared/wire/errors.ts'

const LISTEN_FAILURES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port must be free, got one in use (--port 0 takes any that is free)',
  EACCES: 'the port must be one that this user may open (from 1024 up)',
  EADDRNOTAVAIL: 'the address must be one of this machine',
  ENOTFOUND: 'the address must be one of this machine',
}

/** The error for a server that could not be started. */
export function cannotListen(host: string, port: number, cause: unknown): RpcError {
  const { code = '', message } = cause as { code?: string; message: string }
  const reason = LISTEN_FAILURES[code] ?? message
  return new RpcError('failed_precondition', `Cannot listen on ${host}:${port}: ${reason}`, { cause })
}
