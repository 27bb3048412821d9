// Imported before anything else by the scripts of package.json: what follows uses this version's features. npm puts the
// pinned Node of node_modules/.bin first, so this fails only where that package is missing for the platform.
const NEEDED_MAJOR = 24

const major = Number(process.versions.node.split('.', 1)[0])
if (major < NEEDED_MAJOR) {
  console.error(`Cannot run this script: Node ${NEEDED_MAJOR} or later is needed, got ${process.version}`)
  process.exit(1)
}
