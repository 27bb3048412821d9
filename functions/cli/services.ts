import process from 'node:process'
import { isSuspect, type LeasedInstance } from '../../shared/stores/lease_store.ts'
import { type Command, GATEWAY_OPTIONS, gatewayAccess, gatewayHelp, parse } from './command.ts'
import { request } from './request.ts'
import { alignColumns } from './text.ts'

const HELP = `Shows what is registered at a gateway.

Usage: shoal services                the services: versions, groups, instances, how many of them are suspect
       shoal services NAME           the instances of one: version, group, zone, weight, last beat, address

  Suspect is who has not beaten for two thirds of its lease: it is called only where the others are too few.
${gatewayHelp()}
`

interface Kinds {
  service: string
  tableAgeMs: number
  versions: string[]
  groups: string[]
}

export const services: Command = {
  summary: 'shows what is registered at a gateway',
  help: HELP,
  async run(args) {
    const { values, positionals: [service] } = parse(args, GATEWAY_OPTIONS, 1)
    const access = gatewayAccess(values, process.env)
    const path = '/registry/services'
    if (service === undefined) {
      const { tables } = await request<{ tables: (Kinds & { instances: number; suspects: number })[] }>(
        access,
        'GET',
        path,
      )
      const lines = tables.map(({ service, versions, groups, instances, suspects, tableAgeMs }) => [
        ...[service, versions.join(' '), groups.join(' ')],
        ...[String(instances), String(suspects), seconds(tableAgeMs)],
      ])
      const head = ['service', 'versions', 'groups', 'instances', 'suspects', 'table age']
      return void process.stdout.write(alignColumns([head, ...lines]))
    }
    const { instances, tableAgeMs } = await request<Kinds & { instances: LeasedInstance[] }>(
      access,
      'GET',
      `${path}/${encodeURIComponent(service)}`,
    )
    const lines = instances.map((instance) => [
      ...[instance.id, instance.version, instance.group, instance.zone || '-', String(instance.weight)],
      ...[`${seconds(instance.ageMs)} ago${isSuspect(instance) ? ', suspect' : ''}`, addressOf(instance)],
    ])
    const head = ['instance', 'version', 'group', 'zone', 'weight', 'last beat', 'address']
    process.stdout.write(alignColumns([head, ...lines]))
    // What a gateway knows while its store is away.
    if (tableAgeMs > 0) process.stdout.write(`as of ${seconds(tableAgeMs)} ago: the store does not answer\n`)
  },
}

function addressOf({ address }: LeasedInstance): string {
  return address.kind === 'url' ? address.url : `relay ${address.name}`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
