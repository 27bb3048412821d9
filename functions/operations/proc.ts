import { readdir, readFile, readlink } from 'node:fs/promises'

/** What the system says of a process, whatever the process itself is doing. Linux. */
export interface SystemView {
  command: string
  /** `R` running, `S` sleeping, `D` waiting for a device, `T` stopped, `Z` dead and not yet buried. */
  state: string
  threads: number
  rssBytes: number
  openFiles: number
  cpuSeconds: number
}

/** Ticks of /proc's clock in a second, the same on every Linux of today. */
const TICKS_PER_SECOND = 100

/** @returns undefined where there is no such process, or no /proc */
export async function systemView(pid: number): Promise<SystemView | undefined> {
  try {
    const [stat, status, command] = await Promise.all(
      ['stat', 'status', 'cmdline'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8')),
    )
    // The second field is a name in brackets that may itself hold spaces and brackets.
    const fields = (stat ?? '').slice((stat ?? '').lastIndexOf(')') + 2).split(' ')
    const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status ?? '')?.[1] ?? 0)
    return {
      command: (command ?? '').split('\0').filter(Boolean).join(' '),
      state: fields[0] ?? '?',
      threads: number('Threads'),
      rssBytes: number('VmRSS') * 1024,
      openFiles: (await readdir(`/proc/${pid}/fd`).catch(() => [])).length,
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    }
  } catch {
    return undefined
  }
}

/** Ports of loopback on which a process listens. */
export async function listeningPorts(pid: number): Promise<number[]> {
  const inodes = await socketsOf(pid)
  return (await listeners()).filter(({ inode }) => inodes.has(inode)).map(({ port }) => port)
}

/** The process that listens on a port of this machine, as far as it may be seen. */
export async function listenerOf(port: number): Promise<number | undefined> {
  const wanted = new Set((await listeners()).filter((one) => one.port === port).map(({ inode }) => inode))
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue
    for (const inode of await socketsOf(Number(name))) if (wanted.has(inode)) return Number(name)
  }
  return undefined
}

async function socketsOf(pid: number): Promise<Set<string>> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => [])
  const links = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')))
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []))
}

async function listeners(): Promise<{ port: number; inode: string }[]> {
  const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')))
  return tables.flatMap((table) =>
    table.split('\n').slice(1).flatMap((line) => {
      const fields = line.trim().split(/\s+/)
      const [, local = '', , state] = fields
      const inode = fields[9]
      // 0A is LISTEN.
      if (state !== '0A' || inode === undefined) return []
      return [{ port: parseInt(local.split(':')[1] ?? '', 16), inode }]
    })
  )
}
