import { Inference } from './inference.ts'

/**
 * Services that Shoal's own parts offer each other. Callers reach the pool through `shoal.Inference`, which checks what
 * they send. Nobody registers an instance of one of these over HTTP, or the gateway would send it everybody's inputs:
 * nobody but hosts, whose pool takes them as workers do, and whose key must allow for both.
 */
export function isInternal(service: string): boolean {
  return service.startsWith('shoal.') && service !== Inference.name
}

/** Names that begin with `shoal.` are Shoal's own, public or not. */
export function isReserved(service: string): boolean {
  return service === 'shoal' || service.startsWith('shoal.')
}
