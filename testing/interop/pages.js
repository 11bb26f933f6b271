// Opens pages in Chromium as phones and computers show them, light and dark. Leaves a picture of each, and prints what is wrong with
// them as JSON: what axe-core finds, what is wider than the window, what the browser complains of.
//
// Its argument is JSON: `chromium`, `pictures` (a directory), and `pages`, each with `name`, `url`, and perhaps `asked`, which is what the
// page is told about its check.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const { chromium: executablePath, pictures, pages } = JSON.parse(process.argv[2])
const IPHONE = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1'
const WIDTHS = [[320, IPHONE], [375, IPHONE], [1280, undefined]]

const faults = []
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-proxy-server'] })
for (const [width, userAgent] of WIDTHS) {
  for (const colorScheme of ['light', 'dark']) {
    // Who narrows a window further has seen the colours.
    if (width === 320 && colorScheme === 'dark') continue
    const context = await browser.newContext({
      viewport: { width, height: 800 }, colorScheme, userAgent, ignoreHTTPSErrors: true, bypassCSP: false, reducedMotion: 'reduce'
    })
    for (const { name, url, asked } of pages) {
      const page = await context.newPage()
      const complain = what => faults.push(`${name} at ${width} ${colorScheme}: ${what}`)
      page.on('pageerror', error => complain(error.message))
      page.on('console', message => {
        // The check asks for a name that does not exist, and pages of errors have their status.
        if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complain(message.text())
      })
      if (asked !== undefined) {
        await page.route('**/check/*', route => route.fulfill({ json: { asked } }))
      }
      await page.goto(url)
      if (asked !== undefined) {
        await page.waitForSelector(asked ? '#check.good' : '#check.bad', { timeout: 15000 })
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      if (wide > 0) complain(`is ${wide} pixels too wide`)
      if (width !== 320) {
        await page.screenshot({ path: `${pictures}/${name}-${width}-${colorScheme}.png`, fullPage: true })
      }
      // In a world of its own, since the policy of the page admits no script from elsewhere.
      const session = await context.newCDPSession(page)
      const { frameTree } = await session.send('Page.getFrameTree')
      const { executionContextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id })
      const run = async expression => {
        const { result, exceptionDetails } = await session.send('Runtime.evaluate',
          { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true })
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
        return result.value
      }
      await run(axe + ';0')
      const violations = await run(`axe.run(document).then(found => found.violations.map(one =>
        one.id + ': ' + one.help + ' ' + one.nodes.slice(0, 3).map(node => node.target.join(' ')).join(', ')))`)
      violations.forEach(complain)
      await page.close()
    }
    await context.close()
  }
}
// What is there without a script: all of the page but the check and the buttons to copy.
const context = await browser.newContext({ javaScriptEnabled: false, ignoreHTTPSErrors: true })
const page = await context.newPage()
await page.goto(pages[0].url)
if (!(await page.isVisible('#setup .step'))) faults.push('without JavaScript there are no steps')
if (await page.isVisible('.copyable button')) faults.push('without JavaScript there are buttons that do nothing')
// And with the keyboard: the first stop leads past the head.
await page.keyboard.press('Tab')
const first = await page.evaluate(() => document.activeElement?.className).catch(() => 'skip')
if (first !== 'skip') faults.push(`the first stop of the keyboard is ${first}`)
await browser.close()
console.log(JSON.stringify(faults, null, 1))
