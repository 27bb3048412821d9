import { setFlagsFromString } from 'node:v8'

/** V8's settings for a process that carries calls and tensors. Import it before all else. */

/**
 * By itself V8 collects the whole heap each time about 32 MB of new ArrayBuffers have come, however short they live: a step
 * of training a small model spent half of its time on that. With this flag buffers count towards the heap's own limit,
 * which grows with what is in use.
 */
setFlagsFromString('--external-memory-accounted-in-global-limit')

/**
 * V8 puts what it has seen survive into the old generation at once the next time. What it sees survive here are calls in
 * flight, which then hold on to all they point at until the old generation is collected: 850 bytes a call outlived their
 * call in the relay alone, and none do without it.
 */
setFlagsFromString('--no-allocation-site-pretenuring')
