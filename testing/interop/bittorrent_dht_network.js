// A DHT of nodes of npm's bittorrent-dht on 127.0.0.1.
//
// Prints a line `HOST:PORT` for each node once they know each other, then an empty line. Then obeys, one line each:
//
//     get KEY              prints `SEQ VALUE`, or `none`
//     put SEED KEY VALUE   stores the value with the next sequence number, prints how many nodes took it
//
// with bytes in hexadecimal. Ends when its standard input is closed, so that it cannot outlive the test.
//
// usage: node bittorrent_dht_network.js MODULES NODES
//
// MODULES is the node_modules folder that bittorrent-dht is in.

import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

const HOST = '127.0.0.1'

// Milliseconds that a node waits for another. On one machine that is long.
const TIMEOUT = 500

// Milliseconds until the nodes must know each other.
const DEADLINE = 20_000

// What comes before the 32 bytes of an Ed25519 key in DER (RFC 8410), the only form that node:crypto takes.
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const SECRET_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

const [modules, count] = process.argv.slice(2)
const { Client } = await import(pathToFileURL(join(modules, 'bittorrent-dht', 'index.js')))

function isSigned (signature, message, key) {
  const der = Buffer.concat([PUBLIC_PREFIX, key])
  return verify(null, message, createPublicKey({ key: der, format: 'der', type: 'spki' }), signature)
}

function signer (seed) {
  const der = Buffer.concat([SECRET_PREFIX, seed])
  const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return message => sign(null, message, secret)
}

async function start (bootstrap) {
  const node = new Client({ bootstrap, verify: isSigned, timeout: TIMEOUT })
  node.listen(0, HOST)
  await once(node, 'listening')
  return node
}

async function startNetwork () {
  const nodes = []
  for (let i = 0; i < Number(count); i++) nodes.push(await start(false))
  for (const node of nodes) {
    for (const other of nodes) {
      if (other !== node) node.addNode({ host: HOST, port: other.address().port })
    }
  }
  const end = Date.now() + DEADLINE
  while (nodes.some(node => node.nodes.count() < nodes.length - 1)) {
    if (Date.now() > end) throw new Error('waited too long for the nodes to know each other')
    await sleep(20)
  }
  return nodes.map(node => `${HOST}:${node.address().port}`)
}

function newest (client, key) {
  const target = createHash('sha1').update(key).digest()
  return new Promise((resolve, reject) => {
    client.get(target, (error, value) => error ? reject(error) : resolve(value))
  })
}

async function get (client, key) {
  const found = await newest(client, key)
  return found ? `${found.seq} ${Buffer.from(found.v).toString('hex')}` : 'none'
}

async function put (client, seed, key, value) {
  const previous = await newest(client, key)
  const item = { k: key, v: value, seq: previous ? previous.seq + 1 : 1, sign: signer(seed) }
  return new Promise((resolve, reject) => {
    client.put(item, (error, target, stored) => error ? reject(error) : resolve(stored))
  })
}

const addresses = await startNetwork()
console.log(addresses.join('\n') + '\n')
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = line.split(' ')
  // A new client for each command: one that has stored a value itself would not ask the others.
  const client = await start(addresses)
  await once(client, 'ready')
  console.log(await { get, put }[command](client, ...words.map(word => Buffer.from(word, 'hex'))))
  client.destroy()
}
process.exit()
