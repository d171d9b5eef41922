import { IN_CI, testSuite } from "../suite-test.ts";
import { runLoss } from "./suite.ts";

testSuite("loss", () =>
  runLoss(IN_CI ? ["--kills", "5", "--rounds", "20"] : ["--kills", "3", "--rounds", "5", "--budget", "off"]),
);
