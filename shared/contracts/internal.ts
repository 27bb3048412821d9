import { Inference } from './inference.ts'

/**
 * Services that Shoal's own parts offer each other. Callers reach the pool through `shoal.Inference`, which checks what
 * they send; nobody registers an instance of one of these over HTTP, or the gateway would send it everybody's inputs.
 */
export function isInternal(service: string): boolean {
  return service.startsWith('shoal.') && service !== Inference.name
}

/** Names that begin with `shoal.` are Shoal's own, public or not. */
export function isReserved(service: string): boolean {
  return service === 'shoal' || service.startsWith('shoal.')
}
