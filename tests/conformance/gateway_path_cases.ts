import { expect, it } from 'vitest'
import { askRaw } from './gateway_http.ts'
import type { Keys } from './gateway_suite.ts'

/** Other ways to write a path, some of which a server might take for it after its guard has looked. */
const DISGUISES: readonly ((path: string) => string)[] = [
  (path) => path,
  (path) => `/${path}`,
  (path) => `//${path}`,
  (path) => path.replace(/^\/(.)/, (_, first: string) => `/%${first.charCodeAt(0).toString(16)}`),
  (path) => path.replace(/^\/(.)/, (_, first: string) => `/%25${first.charCodeAt(0).toString(16)}`),
  (path) => `/%2f${path.slice(1)}`,
  (path) => `%2f${path.slice(1)}`,
  (path) => `${path}/`,
  (path) => `${path}%2f`,
  (path) => `${path}/.`,
  (path) => `${path}/..;/`,
  (path) => `/..;${path}`,
  (path) => `/livez/..${path}`,
  (path) => `/livez/..;${path}`,
  (path) => `/livez/%2e%2e${path}`,
  (path) => `/livez/..%2f${path.slice(1)}`,
  (path) => `/livez%2f..${path}`,
  (path) => `/.${path}`,
  (path) => `/assets/..${path}`,
  (path) => `${path};a=b`,
  (path) => `${path}%00`,
  (path) => `${path}%20`,
  (path) => `${path}.json`,
  (path) => `${path}%23`,
  (path) => `${path}%3f`,
  (path) => path.toUpperCase(),
  (path) => path.replaceAll('/', '\\'),
  (path) => path.replaceAll('/', '/./'),
  (path) => `http://127.0.0.1${path}`,
  (path) => `http://evil.example${path}`,
  (path) => `${path}?/livez`,
]

const ROUTES: readonly [method: string, path: string, headers?: readonly string[]][] = [
  ['GET', '/workers'],
  ['GET', '/models'],
  ['GET', '/metrics'],
  ['GET', '/registry/services'],
  ['GET', '/v2/models/keyed'],
  ['POST', '/workers/enrol', ['Content-Length: 0']],
  ['PUT', '/models/disguised/versions/1', ['Content-Length: 0']],
  ['POST', '/rpc/shoal.Inference/infer', ['Content-Length: 2', 'Content-Type: application/json']],
]

/** A path written another way meets the same decision as the plain one, or 4xx: never a way past the guard. */
export function pathCases(at: () => string, keys: () => Keys): void {
  for (const [method, path, headers = []] of ROUTES) {
    it(`guards ${method} ${path} however it is written`, async () => {
      const send = (target: string, more: readonly string[]) =>
        askRaw(at(), [`${method} ${target} HTTP/1.1`, ...headers, ...more], headers.length > 1 ? '{}' : '')
      const admitted = (await send(path, [`Authorization: ${keys().admin.authorization}`])).status
      expect((await send(path, [])).status).toBe(401)
      for (const disguise of DISGUISES) {
        const target = disguise(path)
        const { status } = await send(target, [])
        expect([target, status, isRefusal(status)]).toEqual([target, status, true])
        const withKey = await send(target, [`Authorization: ${keys().admin.authorization}`])
        const same = withKey.status === admitted || isRefusal(withKey.status)
        expect([target, withKey.status, same]).toEqual([target, withKey.status, true])
      }
    })
  }

  it('takes no other method for the one that is guarded', async () => {
    for (const header of ['X-HTTP-Method-Override: PUT', 'X-HTTP-Method: PUT', 'X-Method-Override: PUT']) {
      const { status } = await askRaw(at(), ['POST /models/disguised/versions/1 HTTP/1.1', header, 'Content-Length: 0'])
      expect([header, status]).toEqual([header, 404])
    }
    // HEAD is GET without a body, and guarded as GET.
    expect((await askRaw(at(), ['HEAD /workers HTTP/1.1'])).status).toBe(401)
    expect((await askRaw(at(), ['get /workers HTTP/1.1'])).status).toBeGreaterThanOrEqual(400)
  })

  it('takes nobody’s word for another address or path', async () => {
    for (
      const header of [
        'X-Forwarded-For: 127.0.0.1',
        'X-Real-IP: 127.0.0.1',
        'X-Original-URL: /livez',
        'X-Rewrite-URL: /livez',
        'Forwarded: for=127.0.0.1',
        'X-Forwarded-Host: localhost',
        'Host: localhost',
      ]
    ) {
      expect([header, (await askRaw(at(), ['GET /workers HTTP/1.1', header])).status]).toEqual([header, 401])
    }
  })
}

/** Any refusal but a failure of the server's own. A method of that name may be unimplemented: 501. */
function isRefusal(status: number): boolean {
  return status >= 400 && status !== 500
}
