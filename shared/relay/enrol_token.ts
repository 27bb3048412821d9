import { errors, jwtVerify, SignJWT } from 'jose'
import { encodeUtf8 } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { DEFAULTS } from '../base/defaults.ts'
import { newId } from '../base/random.ts'
import { RpcError } from '../wire/errors.ts'

/** What lets one worker open one socket to one relay: signed, short-lived, used once. */
export interface EnrolClaims {
  jti: string
  relay: string
  expiresAtMs: number
  /** The worker is a stranger's: it is given public models alone. */
  volunteer: boolean
}

/** The algorithm is pinned on both sides: a token that names another is refused whatever its signature. */
const ALGORITHM = 'HS256'
const AUDIENCE = 'shoal-relay'
const WALL_CLOCK = { now: () => Date.now() }

/** @param clock time since 1970: a token's end is a date, so that another machine can read it */
export async function issueEnrolToken(
  secret: string,
  relay: string,
  ttlMs: number = DEFAULTS.enrolTokenMs,
  clock: Pick<Clock, 'now'> = WALL_CLOCK,
  volunteer = false,
): Promise<{ token: string; expiresInMs: number }> {
  const nowMs = clock.now()
  const token = await new SignJWT({ relay, scope: volunteer ? 'volunteer' : 'worker' })
    .setProtectedHeader({ alg: ALGORITHM })
    .setAudience(AUDIENCE)
    .setJti(newId('enrol'))
    .setIssuedAt(Math.floor(nowMs / 1000))
    .setExpirationTime(Math.floor((nowMs + ttlMs) / 1000))
    .sign(encodeUtf8(secret))
  return { token, expiresInMs: ttlMs }
}

/**
 * Checks signature, audience, age and relay; single use is the caller's to enforce with `jti`.
 * @throws RpcError `unauthenticated` without saying more than that the token is no good, or that it is too old
 */
export async function verifyEnrolToken(
  secret: string,
  relay: string,
  token: string,
  clock: Pick<Clock, 'now'> = WALL_CLOCK,
): Promise<EnrolClaims> {
  try {
    const { payload } = await jwtVerify(token, encodeUtf8(secret), {
      algorithms: [ALGORITHM],
      audience: AUDIENCE,
      currentDate: new Date(clock.now()),
    })
    const volunteer = payload.scope === 'volunteer'
    const known = volunteer || payload.scope === 'worker'
    if (payload.relay !== relay || !known || !payload.jti || !payload.exp) throw new Error('claims')
    return { jti: payload.jti, relay, expiresAtMs: payload.exp * 1000, volunteer }
  } catch (cause) {
    const why = cause instanceof errors.JWTExpired
      ? 'the enrolment token has expired'
      : 'a valid enrolment token is required'
    throw new RpcError('unauthenticated', `Cannot enrol the worker: ${why}`, { cause })
  }
}
