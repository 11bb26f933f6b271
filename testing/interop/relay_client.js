// Clients from npm that use a relay.
//
//     node relay_client.js MODULES CLIENT RELAY publish TEXT   prints the key whose packet says so
//     node relay_client.js MODULES CLIENT RELAY resolve KEY    prints what it says
//
// MODULES is the node_modules folder that the clients are in. CLIENT is `pkarr`, whose text is that of `_text`, or
// `pubky`, whose text is the key of a homeserver.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [modules, client, relay, command, argument] = process.argv.slice(2)

async function pkarr () {
  const { Pkarr, SignedPacket, z32 } = await import(pathToFileURL(join(modules, 'pkarr', 'index.js')))
  if (command === 'resolve') {
    const packet = (await Pkarr.relayGet(relay, z32.decode(argument))).packet()
    const record = packet.answers.find(({ name, type }) => type === 'TXT' && name.startsWith('_text'))
    return record.data.join('')
  }
  const keypair = Pkarr.generateKeyPair()
  const answer = { name: '_text', type: 'TXT', ttl: 300, class: 'IN', data: [argument] }
  const packet = SignedPacket.fromPacket(keypair, { id: 0, type: 'response', flags: 0, answers: [answer] })
  const response = await Pkarr.relayPut(relay, packet)
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
  return z32.encode(keypair.publicKey)
}

async function pubky () {
  const { Client, Keypair, Pubky, PublicKey } = createRequire(import.meta.url)(join(modules, '@synonymdev', 'pubky'))
  const sdk = Pubky.withClient(new Client({ pkarr: { relays: [relay], requestTimeout: 10_000 } }))
  if (command === 'resolve') return (await sdk.getHomeserverOf(PublicKey.from(argument))).z32()
  const keypair = Keypair.random()
  await sdk.signer(keypair).pkdns.publishHomeserverForce(PublicKey.from(argument))
  return keypair.publicKey.z32()
}

console.log(await { pkarr, pubky }[client]())
