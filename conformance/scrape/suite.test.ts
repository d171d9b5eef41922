import { testSuite } from "../suite-test.ts";
import { runScrape } from "./suite.ts";

testSuite("scrape", runScrape);
