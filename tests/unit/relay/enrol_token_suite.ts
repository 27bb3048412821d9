import { assert } from 'chai'
import { base64url, SignJWT } from 'jose'
import { encodeUtf8 } from '../../../shared/base/bytes.ts'
import { DEFAULTS } from '../../../shared/base/defaults.ts'
import { issueEnrolToken, verifyEnrolToken } from '../../../shared/relay/enrol_token.ts'
import { RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'

const SECRET = 's'.repeat(64)
const START_MS = 1_790_000_000_000

/** A token with what a forger would change, signed with a key of choice. */
async function forge(
  claims: Record<string, unknown>,
  options: { alg?: string; secret?: string } = {},
): Promise<string> {
  const good = { relay: 'relay-1', scope: 'worker', aud: 'shoal-relay', jti: 'j', exp: START_MS / 1000 + 60 }
  return await new SignJWT({ ...good, ...claims })
    .setProtectedHeader({ alg: options.alg ?? 'HS256' })
    .sign(encodeUtf8(options.secret ?? SECRET))
}

async function refused(
  token: string,
  options: { relay?: string; nowMs?: number; secret?: string } = {},
): Promise<string> {
  const clock = { now: () => options.nowMs ?? START_MS }
  try {
    await verifyEnrolToken(options.secret ?? SECRET, options.relay ?? 'relay-1', token, clock)
  } catch (thrown) {
    assert.instanceOf(thrown, RpcError)
    assert.equal((thrown as RpcError).code, 'unauthenticated')
    return (thrown as RpcError).message
  }
  throw new Error('The token was accepted')
}

const INVALID = 'Cannot enrol the worker: a valid enrolment token is required'
const EXPIRED = 'Cannot enrol the worker: the enrolment token has expired'

export const enrolTokenSuite: Suite = {
  name: 'relay: enrolment tokens',
  cases: {
    'a token opens its relay until it is five minutes old': async () => {
      const clock = { now: () => START_MS }
      const { token, expiresInMs } = await issueEnrolToken(SECRET, 'relay-1', undefined, clock)
      assert.equal(expiresInMs, DEFAULTS.enrolTokenMs)
      assert.isAtMost(expiresInMs, 300_000)
      const claims = await verifyEnrolToken(SECRET, 'relay-1', token, { now: () => START_MS + expiresInMs - 1_000 })
      assert.equal(claims.relay, 'relay-1')
      assert.equal(claims.expiresAtMs, START_MS + expiresInMs)
      assert.equal(await refused(token, { nowMs: START_MS + expiresInMs }), EXPIRED)
    },

    'a token says whose worker it is, and nobody can say it otherwise': async () => {
      const clock = { now: () => START_MS }
      for (const volunteer of [true, false]) {
        const { token } = await issueEnrolToken(SECRET, 'relay-1', undefined, clock, volunteer)
        assert.equal((await verifyEnrolToken(SECRET, 'relay-1', token, clock)).volunteer, volunteer)
      }
      for (const scope of ['admin', '', null, ['worker']]) assert.equal(await refused(await forge({ scope })), INVALID)
    },

    'by the machine’s own clock unless told otherwise': async () => {
      const { token } = await issueEnrolToken(SECRET, 'relay-1')
      const claims = await verifyEnrolToken(SECRET, 'relay-1', token)
      assert.closeTo(claims.expiresAtMs - Date.now(), DEFAULTS.enrolTokenMs, 5_000)
    },

    'each token has an id of its own, so that a relay can take it once': async () => {
      const ids = new Set<string>()
      for (let i = 0; i < 20; i++) {
        const { token } = await issueEnrolToken(SECRET, 'relay-1')
        ids.add((await verifyEnrolToken(SECRET, 'relay-1', token)).jti)
      }
      assert.equal(ids.size, 20)
    },

    'another relay, another secret, another audience, another scope: refused alike': async () => {
      const good = await forge({})
      assert.equal((await verifyEnrolToken(SECRET, 'relay-1', good, { now: () => START_MS })).jti, 'j')
      assert.equal(await refused(good, { relay: 'relay-2' }), INVALID)
      assert.equal(await refused(good, { secret: 't'.repeat(64) }), INVALID)
      for (
        const claims of [{ aud: 'other' }, { aud: undefined }, { scope: 'admin' }, { scope: undefined }, { relay: 7 }]
      ) {
        assert.equal(await refused(await forge(claims)), INVALID, JSON.stringify(claims))
      }
    },

    'a token without an end or an id is no token': async () => {
      for (const claims of [{ exp: undefined }, { jti: undefined }, { jti: '' }, { exp: 'soon' }]) {
        assert.equal(await refused(await forge(claims)), INVALID, JSON.stringify(claims))
      }
    },

    'the algorithm is pinned: none, and others of the same key, are refused': async () => {
      for (const alg of ['HS384', 'HS512']) assert.equal(await refused(await forge({}, { alg })), INVALID)
      const [, payload, signature] = (await forge({})).split('.')
      for (const header of [{ alg: 'none' }, { alg: 'None' }, { alg: 'RS256' }, {}]) {
        const encoded = base64url.encode(JSON.stringify(header))
        assert.equal(await refused(`${encoded}.${payload}.`), INVALID)
        assert.equal(await refused(`${encoded}.${payload}.${signature}`), INVALID)
      }
    },

    'a changed claim breaks the signature': async () => {
      const [header, payload = '', signature] = (await forge({})).split('.')
      const claims = JSON.parse(new TextDecoder().decode(base64url.decode(payload)))
      const changed = base64url.encode(JSON.stringify({ ...claims, relay: 'relay-2' }))
      assert.equal(await refused(`${header}.${changed}.${signature}`, { relay: 'relay-2' }), INVALID)
    },

    'nonsense is refused in the same words': async () => {
      for (const token of ['', '.', '..', 'a.b.c', 'x'.repeat(4096), '\0', '鯨.鯨.鯨']) {
        assert.equal(await refused(token), INVALID)
      }
    },
  },
}
