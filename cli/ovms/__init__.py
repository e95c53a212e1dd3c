"""The command line of OpenVINO Model Server, translated into the commands of this server."""
