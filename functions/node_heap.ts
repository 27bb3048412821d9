import { setFlagsFromString } from 'node:v8'

/**
 * Import it before all else in a process that moves tensors. By itself V8 collects the whole heap each time about 32 MB of
 * new ArrayBuffers have come, however short they live: a step of training a small model spent half of its time on that.
 * With this flag buffers count towards the heap's own limit, which grows with what is in use.
 */
setFlagsFromString('--external-memory-accounted-in-global-limit')
