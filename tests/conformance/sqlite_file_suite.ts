import { expect } from 'chai'
import { SqliteFile } from '../../shared/stores/sqlite_file.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { Suite } from '../suite.ts'

const open = () => new SqliteFile(':memory:', 'CREATE TABLE words (word TEXT UNIQUE)', 'recent')

/** What a transaction promises, on every runtime that has SQLite. */
export const sqliteFileSuite: Suite = {
  name: 'SQLite transactions',
  cases: {
    'undo all of a transaction that fails, and go on': () => {
      const file = open()
      const insert = file.prepare('INSERT INTO words VALUES (?)')
      const words = () => file.read(() => file.prepare('SELECT word FROM words').all().map((row) => row.word))
      try {
        file.write(() => insert.run('kept'))
        const twice = () =>
          file.write(() => {
            insert.run('lost')
            insert.run('kept')
          })
        expect(twice).to.throw(RpcError, /UNIQUE/).with.property('code', 'unavailable')
        expect(words()).to.deep.equal(['kept'])
        file.write(() => insert.run('more'))
        expect(words()).to.deep.equal(['kept', 'more'])
      } finally {
        file.close()
      }
    },
    'pass on an error of our own as it is': () => {
      const file = open()
      const own = new RpcError('not_found', 'Cannot find it')
      const fail = () => {
        throw own
      }
      try {
        expect(() => file.write(fail)).to.throw(own)
        expect(file.write(() => 7)).to.equal(7)
      } finally {
        file.close()
      }
    },
  },
}
